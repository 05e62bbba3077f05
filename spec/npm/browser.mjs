// Headless Chromium against an edge, for browser_npm.lua: one line for each promise, "ok NAME" or "not ok NAME: why".
//
//   node browser.mjs '{ "profile": folder, "spki": hash, "page": url, "app": url, "evil": url, "direct": wss url,
//                       "reload": [program, args...], "file": of the edge, "api": pid of one of two API gateways }'
import { chromium } from 'playwright-core';
import { execFileSync } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import assert from 'node:assert/strict';

const given = JSON.parse(process.argv[2]);
const complaints = [];

async function check(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.message).replaceAll('\n', ' | ')}`);
  }
}

const context = await chromium.launchPersistentContext(given.profile, {
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', `--ignore-certificate-errors-spki-list=${given.spki}`,
    '--host-resolver-rules=MAP *.test 127.0.0.1'],
});

async function open(url) {
  const page = await context.newPage();
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(url);
  return page;
}

const page = await open(given.page);

await check('the page loads over HTTP/2, with its assets', async () => {
  await page.waitForFunction(() => document.getElementById('page').textContent === 'Hospital: healthy');
  const protocols = await page.evaluate(() => performance.getEntries().filter((e) => e.nextHopProtocol !== undefined)
    .map((e) => e.nextHopProtocol));
  assert.ok(protocols.length >= 4, `${protocols.length} entries`);
  assert.deepEqual(protocols.filter((p) => p !== 'h2'), []);
});

await check('the browser finds nothing to complain about', () => assert.deepEqual(complaints, []));

await check('the policy of the page keeps foreign scripts out', async () => {
  const broken = await page.evaluate((url) => new Promise((resolve) => {
    document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective), { once: true });
    const script = document.createElement('script');
    script.src = `${url}/x.js`;
    document.head.append(script);
  }), given.evil);
  assert.equal(broken, 'script-src-elem');
});

await check('assets come from the cache, the page is asked for anew', async () => {
  const statuses = {};
  page.on('response', (res) => {
    statuses[new URL(res.url()).pathname] = res.fromServiceWorker() ? 'worker' : res.status();
  });
  await page.goto('about:blank');
  await page.goto(given.page);
  const sizes = await page.evaluate(() => Object.fromEntries(performance.getEntriesByType('resource')
    .map((e) => [new URL(e.name).pathname, e.transferSize])));
  assert.equal(sizes['/assets/page.js'], 0);
  assert.equal(sizes['/assets/page.css'], 0);
  const whole = await page.evaluate(() => performance.getEntriesByType('navigation')[0].transferSize);
  assert.ok(whole > 0 && whole < 1000, `the page took ${whole} bytes`);
});

await check('long answers are compressed on the way', async () => {
  const sizes = await page.evaluate(async () => {
    const text = await (await fetch('/api/long')).text();
    const entry = performance.getEntriesByName(new URL('/api/long', location).href)[0];
    return { text: text.length, encoded: entry.encodedBodySize, decoded: entry.decodedBodySize };
  });
  assert.equal(sizes.text, 20000);
  assert.equal(sizes.decoded, 20000);
  assert.ok(sizes.encoded > 0 && sizes.encoded < 2000, `${sizes.encoded} bytes`);
});

async function echo(url) {
  return page.evaluate((to) => new Promise((resolve) => {
    const socket = new WebSocket(to, ['echo.v1']);
    const got = [];
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      socket.send('hello');
      socket.send('x'.repeat(100000));
      socket.send(new Uint8Array([0, 1, 255]));
    };
    socket.onmessage = ({ data }) => {
      got.push(typeof data === 'string' ? data.length : [...new Uint8Array(data)].join());
      if (got.length === 3) socket.close(4001, 'done');
    };
    socket.onclose = (event) => resolve([...got, event.code, event.reason, socket.protocol].join(' '));
  }), url);
}

const echoed = '5 100000 0,1,255 4001 done echo.v1';
await check('a WebSocket passes through the edge', async () => {
  assert.equal(await echo(`${given.page.replace('https', 'wss')}graphql`), echoed);
});
await check('a WebSocket ends in a script', async () => assert.equal(await echo(given.direct), echoed));

// a call with the cookie of the edge, from a page of another origin
async function call(from, method) {
  const other = await open(from);
  const result = await other.evaluate(async ([url, how]) => {
    try {
      const res = await fetch(`${url}api/whoami`, { method: how, credentials: 'include', headers: { 'X-Request-ID': 'abc' } });
      return `${res.status} ${res.headers.get('x-request-id') !== null} ${await res.text()}`;
    } catch (error) {
      return error.message;
    }
  }, [given.page, method]);
  await other.close();
  return result;
}

await check('an origin that is allowed calls with credentials', async () => {
  await page.evaluate(() => { document.cookie = 'session=s1; Secure; SameSite=Lax; Domain=hospital.test'; });
  assert.equal(await call(given.app, 'GET'), '200 true GET session=s1');
  assert.equal(await call(given.app, 'DELETE'), '200 true DELETE session=s1');
});
await check('any other origin is kept out', async () => {
  assert.equal(await call(given.evil, 'GET'), 'Failed to fetch');
  assert.equal(await call(given.evil, 'DELETE'), 'Failed to fetch');
});

await check('no poll fails while the site is loaded anew and an API gateway leaves', async () => {
  await page.evaluate(() => {
    window.polls = { fine: 0, wrong: [] };
    window.polling = (async () => {
      while (!window.enough) {
        try {
          const res = await fetch('/api/poll', { cache: 'no-store' });
          if (res.status === 200 && await res.text() === 'polled') window.polls.fine += 1;
          else window.polls.wrong.push(res.status);
        } catch (error) {
          window.polls.wrong.push(error.message);
        }
      }
    })();
  });
  const more = async () => {
    const before = await page.evaluate(() => window.polls.fine + window.polls.wrong.length);
    await page.waitForFunction((n) => window.polls.fine + window.polls.wrong.length > n + 20, before);
  };
  await more();
  for (let i = 0; i < 3; i++) {
    appendFileSync(given.file, '\n-- changed\n');
    execFileSync(given.reload[0], given.reload.slice(1));
    await more();
  }
  process.kill(given.api, 'SIGTERM');
  await more();
  await more();
  const polls = await page.evaluate(async () => {
    window.enough = true;
    await window.polling;
    return window.polls;
  });
  assert.deepEqual(polls.wrong, []);
});

await context.close();

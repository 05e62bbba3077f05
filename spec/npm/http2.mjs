// Node's own clients of HTTP/2 and TLS, for http2_npm.lua: one line for each promise, "ok NAME" or "not ok NAME: why".
//
//   node http2.mjs '{ "url": over TLS, "plain": prior knowledge, "mutual": url, "ca": file, "cert": file, "key": file,
//                     "reload": [program, args...], "file": of the site, "pid": of the gateway,
//                     "upstream": the port that is the gateway's upstream; it is served here }'
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const given = JSON.parse(process.argv[2]);
const ca = readFileSync(given.ca);
const sha = (data) => createHash('sha256').update(data).digest('hex');
const run = promisify(execFile);

const upstream = http.createServer((req, res) => {
  if (req.url === '/mirror') {
    req.pipe(res);
  } else if (req.url === '/trailers') {
    res.writeHead(200, { Trailer: 'X-Sum' });
    res.write('hello');
    res.addTrailers({ 'X-Sum': '5' });
    res.end();
  } else {
    const timer = setInterval(() => res.write('x'.repeat(1000)), 10);
    res.on('close', () => clearInterval(timer));
  }
});
upstream.listen(given.upstream, '127.0.0.1');
await once(upstream, 'listening');

async function check(name, promise) {
  try {
    await promise();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.message).replaceAll('\n', ' | ')}`);
  }
}

async function connect(url = given.url) {
  const session = http2.connect(url, { ca, maxSessionMemory: 100 }); // MB: what waits to be sent counts
  session.on('error', () => {});
  await once(session, 'connect');
  return session;
}

// { status, headers, body, trailers } of one request; fails when its stream does
function ask(session, headers, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const result = { parts: [] };
    stream.on('response', (fields) => { result.headers = fields; result.status = fields[':status']; });
    stream.on('trailers', (fields) => { result.trailers = fields; });
    stream.on('data', (data) => result.parts.push(data));
    stream.on('error', reject);
    stream.on('end', () => resolve({ ...result, body: Buffer.concat(result.parts) }));
    if (body !== undefined) stream.end(body);
  });
}

for (const [kind, url] of [['over TLS', given.url], ['by prior knowledge', given.plain]]) {
  await check(`many streams at once, ${kind}`, async () => {
    const session = await connect(url);
    const bodies = await Promise.all(Array.from({ length: 500 }, (_, i) => ask(session, { ':path': `/echo/${i}` })
      .then((res) => `${res.status} ${res.body}`)));
    assert.deepEqual(bodies, Array.from({ length: 500 }, (_, i) => `200 ${i}`));
    session.close();
    await once(session, 'close');
  });

  await check(`large bodies both ways, ${kind}`, async () => {
    const session = await connect(url);
    const data = randomBytes(8 << 20);
    const got = await Promise.all([1, 2, 3].map(() => ask(session, { ':path': '/mirror', ':method': 'POST' }, data)));
    for (const res of got) assert.equal(sha(res.body), sha(data));
    session.close();
  });
}

await check('trailers of an upstream', async () => {
  const session = await connect();
  const res = await ask(session, { ':path': '/trailers', te: 'trailers' });
  assert.equal(res.status, 200);
  assert.equal(res.body.toString(), 'hello');
  assert.equal(res.trailers?.['x-sum'], '5');
  session.close();
});

await check('streams that the client gives up leave the others alone', async () => {
  const session = await connect();
  const others = Array.from({ length: 20 }, (_, i) => ask(session, { ':path': `/echo/${i}` }));
  for (let i = 0; i < 20; i++) {
    const stream = session.request({ ':path': '/endless' });
    stream.on('error', () => {});
    await once(stream, 'response');
    await once(stream, 'data');
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await once(stream, 'close');
  }
  for (const res of await Promise.all(others)) assert.equal(res.status, 200);
  assert.equal((await ask(session, { ':path': '/echo/last' })).body.toString(), 'last');
  session.close();
});

await check('an upload that is given up', async () => {
  const session = await connect();
  const stream = session.request({ ':path': '/mirror', ':method': 'POST' });
  stream.on('error', () => {});
  stream.write(randomBytes(100000));
  await once(stream, 'drain').catch(() => {});
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await once(stream, 'close');
  assert.equal((await ask(session, { ':path': '/echo/after' })).body.toString(), 'after');
  session.close();
});

await check('a reload leaves open sessions alone', async () => {
  const session = await connect();
  let goaway = false;
  session.on('goaway', () => { goaway = true; });
  const endless = session.request({ ':path': '/endless' });
  endless.on('error', () => {});
  await once(endless, 'data');
  appendFileSync(given.file, '\n-- changed\n');
  await run(given.reload[0], given.reload.slice(1));
  assert.equal((await ask(session, { ':path': '/echo/new' })).status, 200);
  await once(endless, 'data');
  assert.equal(goaway, false);
  endless.close();
  session.close();
});

// ---- https ----

function get(options) {
  return new Promise((resolve, reject) => {
    const req = https.get(`${given.mutual}/client`, { ca, ...options }, (res) => {
      const parts = [];
      res.on('data', (data) => parts.push(data));
      res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(parts).toString(),
        resumed: res.socket.isSessionReused() }));
    });
    req.on('error', reject);
  });
}

const client = { cert: readFileSync(given.cert), key: readFileSync(given.key) };

await check('https with the certificate of a client', async () => {
  assert.equal((await get({ ...client, agent: false })).body, 'CN=alice.test');
  await assert.rejects(get({ agent: false }), /certificate required|ECONNRESET|alert/i);
});

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  await check(`sessions are resumed, ${version}`, async () => {
    const agent = new https.Agent({ keepAlive: false, minVersion: version, maxVersion: version });
    const seen = [];
    for (let i = 0; i < 6; i++) {
      const res = await get({ ...client, agent });
      assert.equal(res.body, 'CN=alice.test');
      seen.push(res.resumed);
    }
    assert.deepEqual(seen, [false, true, true, true, true, true]);
  });
}

await check('a gateway that ends says so, and finishes what it has begun', async () => {
  const session = await connect();
  const went = once(session, 'goaway');
  const slow = ask(session, { ':path': '/slow' });
  await once(session.request({ ':path': '/echo/1' }).resume(), 'end');
  process.kill(given.pid, 'SIGTERM');
  await went;
  const res = await slow;
  assert.equal(`${res.status} ${res.body}`, '200 slowly');
  await once(session, 'close');
});

upstream.closeAllConnections();
upstream.close();

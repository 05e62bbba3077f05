// Makes keys and tokens with jose and jsonwebtoken, and judges tokens with them.
//
//   node tokens.mjs keys DIR            private and public keys as PEM, jwks.json, secret.txt
//   node tokens.mjs make DIR            a line of JSON per token: { by, name, good, token }
//   node tokens.mjs verify DIR < TEXT   "ALG TOKEN" a line -> "ALG jose=true jsonwebtoken=true"
import { createHmac, generateKeyPairSync, createPublicKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import * as jose from 'jose';
import jwt from 'jsonwebtoken';

const [, , command, dir] = process.argv;
const file = (name) => `${dir}/${name}`;
const read = (name) => readFileSync(file(name), 'utf8');

const kinds = {
  rsa: ['rsa', { modulusLength: 2048 }],
  p256: ['ec', { namedCurve: 'P-256' }],
  p384: ['ec', { namedCurve: 'P-384' }],
  p521: ['ec', { namedCurve: 'P-521' }],
  ed: ['ed25519', {}],
};
const keyOf = {
  RS256: 'rsa', RS384: 'rsa', RS512: 'rsa', PS256: 'rsa', PS384: 'rsa', PS512: 'rsa',
  ES256: 'p256', ES384: 'p384', ES512: 'p521', EdDSA: 'ed', HS256: null, HS384: null, HS512: null,
};
const SECRET = 'a secret that is long enough for all: 64 bytes of it, and more 1234567890';

function makeKeys() {
  const jwks = { keys: [] };
  for (const [name, [type, options]] of Object.entries(kinds)) {
    const { privateKey } = generateKeyPairSync(type, options);
    const publicKey = createPublicKey(privateKey);
    writeFileSync(file(`${name}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(file(`${name}.pub.pem`), publicKey.export({ type: 'spki', format: 'pem' }));
    jwks.keys.push({ ...publicKey.export({ format: 'jwk' }), kid: name, use: 'sig' });
  }
  writeFileSync(file('jwks.json'), JSON.stringify(jwks));
  writeFileSync(file('secret.txt'), SECRET);
}

const now = () => Math.floor(Date.now() / 1000);
const good = () => ({ sub: 'alice', iat: now(), exp: now() + 600 });
const b64 = (text) => Buffer.from(text).toString('base64url');

async function joseToken(alg, claims, header = {}) {
  const name = keyOf[alg];
  const key = name === null ? Buffer.from(SECRET) : await jose.importPKCS8(read(`${name}.pem`), alg);
  return new jose.SignJWT(claims).setProtectedHeader({ alg, kid: name ?? undefined, ...header }).sign(key);
}

function jsonwebtokenToken(alg, claims) {
  const name = keyOf[alg];
  return jwt.sign(claims, name === null ? SECRET : read(`${name}.pem`),
                  { algorithm: alg, ...(name === null ? {} : { keyid: name }) });
}

// header and payload as they are, with an HMAC
function forged(header, payload, secret) {
  const input = `${b64(header)}.${b64(payload)}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

async function makeTokens() {
  const put = (by, name, isGood, token) => console.log(JSON.stringify({ by, name, good: isGood, token }));
  for (const alg of Object.keys(keyOf)) {
    put('jose', alg, true, await joseToken(alg, good()));
    put('jose', `${alg} at+jwt`, true, await joseToken(alg, good(), { typ: 'at+jwt' }));
    put('jose', `${alg} expired`, false, await joseToken(alg, { ...good(), exp: now() - 5 }));
    put('jose', `${alg} not yet`, false, await joseToken(alg, { ...good(), nbf: now() + 500 }));
    const token = await joseToken(alg, good());
    const [header, , signature] = token.split('.');
    put('jose', `${alg} other claims`, false, `${header}.${b64(JSON.stringify({ ...good(), sub: 'root' }))}.${signature}`);
    put('jose', `${alg} no signature`, false, token.slice(0, token.lastIndexOf('.') + 1));
    if (alg === 'EdDSA') continue;
    put('jsonwebtoken', alg, true, jsonwebtokenToken(alg, good()));
    put('jsonwebtoken', `${alg} expired`, false, jsonwebtokenToken(alg, { ...good(), exp: now() - 5 }));
  }
  const payload = JSON.stringify(good());
  put('jsonwebtoken', 'none', false, jwt.sign(good(), null, { algorithm: 'none' }));
  put('jose', 'unsecured', false, new jose.UnsecuredJWT(good()).encode());
  for (const name of Object.keys(kinds)) {
    put('node', `HMAC with ${name}`, false,
        forged(JSON.stringify({ alg: 'HS256', kid: name }), payload, read(`${name}.pub.pem`)));
  }
  put('node', 'secret', true, forged('{"alg":"HS256"}', payload, SECRET));
  put('node', 'crit', false, forged('{"alg":"HS256","crit":["x"],"x":1}', payload, SECRET));
  put('node', 'text for claims', false, forged('{"alg":"HS256"}', '"alice"', SECRET));
}

async function isGood(alg, token, library) {
  const name = keyOf[alg];
  try {
    if (library === 'jsonwebtoken') {
      jwt.verify(token, name === null ? SECRET : read(`${name}.pub.pem`), { algorithms: [alg] });
    } else {
      const key = name === null ? Buffer.from(SECRET) : await jose.importSPKI(read(`${name}.pub.pem`), alg);
      await jose.jwtVerify(token, key, { algorithms: [alg] });
    }
    return true;
  } catch {
    return false;
  }
}

async function verifyTokens() {
  for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const [alg, token] = line.split(' ');
    console.log(`${alg} jose=${await isGood(alg, token, 'jose')} jsonwebtoken=${await isGood(alg, token, 'jsonwebtoken')}`);
  }
}

await { keys: makeKeys, make: makeTokens, verify: verifyTokens }[command]();

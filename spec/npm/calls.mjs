// A client and a server of gRPC with @grpc/grpc-js, for grpc_npm.lua.
//
//   node calls.mjs server                   prints the port it listens on, then what its calls were told
//   node calls.mjs client HOST:PORT [CA]    makes calls of all kinds, prints what was wrong, or "fine"
//   node calls.mjs fails HOST:PORT METHOD   makes one call, prints code and message of its failure
import grpc from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';

const [, , role, target, extra] = process.argv;
const text = { requestSerialize: (s) => Buffer.from(s), requestDeserialize: String,
  responseSerialize: (s) => Buffer.from(s), responseDeserialize: String };
const method = (name, requestStream, responseStream) =>
  ({ path: `/test.Echo/${name}`, requestStream, responseStream, ...text });
const service = {
  one: method('One', false, false), many: method('Many', false, true), sum: method('Sum', true, false),
  chat: method('Chat', true, true), fail: method('Fail', false, false), late: method('Late', false, false),
  wait: method('Wait', false, true),
};

function serve() {
  const server = new grpc.Server();
  server.addService(service, {
    one(call, done) {
      const trailers = new grpc.Metadata();
      trailers.set('x-behind', 'it');
      call.sendMetadata(new grpc.Metadata());
      done(null, call.request + ' ' + (call.metadata.get('x-mine')[0] ?? ''), trailers);
    },
    many(call) {
      for (let i = 0; i < Number(call.request); i++) call.write(`${i} ${'x'.repeat(i * 100)}`);
      call.end();
    },
    sum(call, done) {
      let sum = 0;
      call.on('data', (n) => { sum += Number(n); });
      call.on('end', () => done(null, String(sum)));
    },
    chat(call) {
      call.on('data', (s) => call.write(`you said ${s}`));
      call.on('end', () => call.end());
    },
    fail(call, done) {
      done({ code: Number(call.request), details: 'so it is: 100 % ü' });
    },
    late() {}, // never
    wait(call) {
      call.write('begun');
      call.on('cancelled', () => console.log('cancelled'));
    },
  });
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
    console.log(error ?? port);
  });
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0)); // it ends with the test
}

const Client = grpc.makeGenericClientConstructor(service, 'Echo');
const connect = () => new Client(target, extra && role === 'client'
  ? grpc.credentials.createSsl(readFileSync(extra)) : grpc.credentials.createInsecure());
const faults = [];
function same(want, got, what) {
  if (JSON.stringify(want) !== JSON.stringify(got)) faults.push(`${what}: ${JSON.stringify(got)}`);
}
const unary = (client, name, request, metadata, options) => new Promise((resolve) => {
  let trailers;
  const make = name.startsWith('/') // a path, of a method that the service may not have
    ? client.makeUnaryRequest.bind(client, name, text.requestSerialize, text.responseDeserialize)
    : client[name].bind(client);
  const call = make(request, metadata ?? new grpc.Metadata(), options ?? {}, (error, response) => {
    setImmediate(() => resolve({ code: error?.code ?? 0, details: error?.details, response, trailers }));
  });
  call.on('status', (status) => { trailers = status.metadata; });
});

async function kinds(client) {
  const metadata = new grpc.Metadata();
  metadata.set('x-mine', 'own');
  const one = await unary(client, 'one', 'hello', metadata);
  same(['hello own', 'it'], [one.response, one.trailers?.get('x-behind')[0]], 'unary');
  const big = 'y'.repeat(300000);
  same(big.length + 1, (await unary(client, 'one', big)).response?.length, 'a large message');

  let count = 0;
  await new Promise((done) => client.many('200').on('data', () => { count++; }).on('error', done).on('end', done));
  same(200, count, 'server streaming');

  same('4950', await new Promise((done) => {
    const call = client.sum((error, response) => done(error?.message ?? response));
    for (let i = 0; i < 100; i++) call.write(String(i));
    call.end();
  }), 'client streaming');

  const heard = [];
  await new Promise((done) => {
    const call = client.chat();
    call.on('data', (s) => { // each message waits for the answer to the one before
      heard.push(s);
      if (heard.length < 20) call.write(String(heard.length));
      else call.end();
    });
    call.on('error', done);
    call.on('end', done);
    call.write('0');
  });
  same([20, 'you said 19'], [heard.length, heard[19]], 'both ways');
}

async function failures(client) {
  for (const code of [3, 5, 9, 16]) {
    const { code: got, details } = await unary(client, 'fail', String(code));
    same([code, 'so it is: 100 % ü'], [got, details], 'a failure of the server');
  }
  same(4, (await unary(client, 'late', 'x', null, { deadline: Date.now() + 200 })).code, 'a deadline');
  same(1, await new Promise((done) => {
    const call = client.wait('x');
    call.on('data', () => call.cancel());
    call.on('error', (error) => done(error.code));
  }), 'a cancelled call');
}

async function talk() {
  const client = connect();
  await kinds(client);
  await failures(client);
  const all = await Promise.all(Array.from({ length: 200 }, (_, i) => unary(client, 'one', String(i))));
  same(all.map((_, i) => `${i} `), all.map((r) => r.response), 'many at once');
  client.close();
  console.log(faults.length > 0 ? faults.join('\n').slice(0, 2000) : 'fine');
}

async function fails() {
  const client = connect();
  const { code, details } = await unary(client, extra, 'x');
  console.log(`${code} ${details}`);
  client.close();
}

if (role === 'server') serve();
else if (role === 'client') await talk();
else await fails();

// Clients and a server of the package ws, for websocket_npm.lua.
//
//   node sockets.mjs server            echoes; prints the port it listens on
//   node sockets.mjs client URL PACK   talks to an echo, prints what was wrong, or "fine"
import { WebSocket, WebSocketServer } from 'ws';
import { createHash, randomBytes } from 'node:crypto';

const [, , role, url, pack] = process.argv;
const sha = (data) => createHash('sha256').update(data).digest('hex');

function serve() {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: { threshold: 0 } });
  server.on('listening', () => console.log(server.address().port));
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('close', (code) => console.log(`closed ${code}`));
  });
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0)); // it ends with the test
}

function messages() {
  const list = ['', 'hello', 'grüße 🌙', 'x'.repeat(70000), Buffer.alloc(0), Buffer.from([0, 255, 1])];
  for (let i = 0; i < 50; i++) list.push(randomBytes(i * 977), `{"id":${i},"text":"${'lorem ipsum '.repeat(i)}"}`);
  return list;
}

async function talk() {
  const socket = new WebSocket(url, ['echo.v1'], { perMessageDeflate: pack === 'pack' && { threshold: 0 } });
  const list = messages();
  let next = 0;
  let pongs = 0;
  socket.on('open', () => {
    if ((pack === 'pack') !== socket.extensions.includes('permessage-deflate')) {
      console.log(`extensions: ${socket.extensions}`);
    }
    socket.ping('p');
    for (const message of list) socket.send(message);
  });
  socket.on('pong', (data) => { pongs += data.toString() === 'p' ? 1 : 100; });
  socket.on('message', (data, binary) => {
    const want = Buffer.from(list[next]);
    if (binary !== (typeof list[next] !== 'string') || sha(data) !== sha(want)) {
      console.log(`message ${next} is another`);
      process.exit(1);
    }
    next += 1;
    if (next === list.length) socket.close(4002, 'done');
  });
  socket.on('error', (error) => console.log(error.message));
  socket.on('close', (code, reason) => {
    const ok = code === 4002 && reason.toString() === 'done' && pongs === 1 && next === list.length;
    console.log(ok ? 'fine' : `closed ${code} ${reason}, ${next} messages, ${pongs} pongs`);
  });
}

if (role === 'server') serve();
else talk();

// An Express application with express-rate-limit 8 or express-slow-down 1 or 3, for limits_npm.lua.
//
//   node limits.mjs rate|slow1|slow3 OPTIONS      OPTIONS is JSON; prints the port it listens on
//
// skip: a path; key: the name of a header to count by.
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import slowDown1 from 'express-slow-down-v1';
import { slowDown as slowDown3 } from 'express-slow-down';

const [, , which, text] = process.argv;
const { skip, key, ...options } = JSON.parse(text);
if (skip) options.skip = (req) => req.path === skip;
if (key) options.keyGenerator = (req) => req.get(key) ?? 'none';

const policies = {
  rate: () => rateLimit({ legacyHeaders: false, ...options }),
  slow1: () => slowDown1(options),
  slow3: () => slowDown3({ ...options, delayMs: () => options.delayMs }),
};
const app = express();
app.use(policies[which]());
app.all('/', (req, res) => res.send('ok'));
app.get('/health', (req, res) => res.send('ok'));
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // it ends with the test

/**
 * What start.sh needs of an operating system and does itself only with difficulty: env files, ports, disk space, and a
 * process in the background. Plain JavaScript without packages, because it also runs before the packages are installed,
 * on any Node.js from 20 on. Prints one sentence and exits with 1 when something stands in the way.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as util from 'node:util';

const readyWaitMs = 120_000;
const stopWaitMs = 60_000;
const pollMs = 50;
const logBytesMax = 10 * 1024 * 1024;
const mib = 1024 * 1024;
/** A new database takes 40 MB and writes 16 MB at once; an existing one needs room to write. */
const freeBytesMin = { fresh: 128 * mib, existing: 48 * mib, external: 16 * mib };

class Obstacle extends Error {}

const commands = { room, env: printEnv, prepare, running, check, launch, await: awaitReady, stop };

const [name, ...args] = process.argv.slice(2);
try {
  await commands[name](...args);
} catch (error) {
  if (!(error instanceof Obstacle)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

/** Prints shell assignments for what `.env` and `.env.local` set and the environment does not. */
function printEnv(root) {
  const files = ['.env', '.env.local'].map((file) => join(root, file)).filter((file) => existsSync(file));
  const values = Object.assign({}, ...files.map(readEnvFile));
  for (const [key, value] of Object.entries(values)) {
    if (process.env[key] !== undefined || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) continue;
    console.log(`export ${key}='${value.replaceAll("'", `'\\''`)}'`);
  }
}

function readEnvFile(path) {
  if (util.parseEnv === undefined) throw new Obstacle(`Reading ${path} needs Node.js 20.12 or newer.`);
  try {
    return util.parseEnv(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Obstacle(`${path} cannot be read: ${error.message}.`);
  }
}

/** Makes the data folder: others may read nothing in it, and only pass through it when the store runs as another user. */
function prepare(dataDir) {
  try {
    makeFolder(dataDir, process.getuid?.() === 0 ? 0o711 : 0o700);
    closeSync(openSync(join(dataDir, 'gateway.log'), 'a', 0o600));
  } catch (error) {
    if (isDiskFull(error)) throw diskFull(dataDir);
    throw new Obstacle(
      `The data folder ${dataDir} cannot be written (${error.code}): set TALOS_DATA_DIR to a folder that this user may write.`,
    );
  }
}

/** The recursive mkdirSync never returns where a file system makes no folders, such as /proc. */
function makeFolder(path, mode) {
  if (existsSync(path)) return;
  makeFolder(dirname(path), mode);
  mkdirSync(path, { mode });
}

/** Prints the address of the gateway that start.sh left running in this data folder; exits with 3 when none runs. */
function running(dataDir, main) {
  if (runningPid(dataDir, main) === undefined) process.exitCode = 3;
  else console.log(readText(join(dataDir, 'gateway.url')));
}

/** Refuses what would make the start fail later and less clearly. */
async function check(dataDir, host, port, store) {
  await requireFreePort(host, Number(port));
  const kind = store === 'external' ? store : existsSync(join(dataDir, 'postgres')) ? 'existing' : 'fresh';
  requireRoom(dataDir, freeBytesMin[kind], 'or set TALOS_DATA_DIR to a folder on another disk');
}

/** Refuses to begin what needs `megabytes` on the disk of `folder`. */
function room(folder, megabytes) {
  requireRoom(folder, Number(megabytes) * mib, 'then run this again');
}

function requireRoom(folder, needed, otherwise) {
  const free = freeBytes(folder);
  if (free >= needed) return;
  const [has, needs] = [free, needed].map((bytes) => Math.floor(bytes / mib));
  throw new Obstacle(
    `The disk that holds ${folder} is full: it has ${has} MB free and ${needs} MB are needed; free some space there, ${otherwise}.`,
  );
}

function requireFreePort(host, port) {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Obstacle('TALOS_GATEWAY_PORT must be a number from 1 to 65535.');
  }
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => reject(new Obstacle(portSentence(error, host, port))));
    server.listen(port, host, () => server.close(resolve));
  });
}

function portSentence({ code }, host, port) {
  if (code === 'EADDRINUSE') {
    return `Port ${port} on ${host} is taken by another program: stop that one, or choose another port with TALOS_GATEWAY_PORT.`;
  }
  if (code === 'EACCES')
    return `This user may not listen on port ${port}: choose one above 1023 with TALOS_GATEWAY_PORT.`;
  return `The gateway cannot listen on ${host}, port ${port} (${code}): check TALOS_BIND_HOST and TALOS_GATEWAY_PORT.`;
}

/** Starts the gateway in the background, with its output in the data folder, and returns when it is ready. */
async function launch(main, root, dataDir, url) {
  const logPath = join(dataDir, 'gateway.log');
  rotate(logPath);
  const log = openSync(logPath, 'a', 0o600);
  const from = statSync(logPath).size;
  // A session of its own: it outlives the terminal and its Ctrl-C.
  const child = spawn(process.execPath, [main], { cwd: root, detached: true, stdio: ['ignore', log, log] });
  let exit;
  child.once('exit', (code, signal) => {
    exit = { code, signal };
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => child.kill('SIGTERM'));
  writeFileSync(join(dataDir, 'gateway.url'), `${url}\n`);
  writeFileSync(join(dataDir, 'gateway.pid'), `${child.pid}\n`);

  const isReady = await becomesReady(url, () => exit !== undefined);
  if (isReady) return child.unref();
  child.kill('SIGTERM');
  rmSync(join(dataDir, 'gateway.pid'), { force: true });
  throw new Obstacle(exit === undefined ? notReady(logPath) : startFailure(logPath, from, dataDir));
}

/** Returns when the gateway of `pid` is ready; exits with 1 when it ends or takes too long, which the gateway itself explains. */
async function awaitReady(pid, url) {
  if (!(await becomesReady(url, () => !isAlive(Number(pid))))) process.exitCode = 1;
}

async function becomesReady(url, isGone) {
  const until = performance.now() + readyWaitMs;
  while (performance.now() < until && !isGone()) {
    if (await answersReady(url)) return !isGone();
    await delay(pollMs);
  }
  return false;
}

function answersReady(url) {
  return new Promise((resolve) => {
    const get = url.startsWith('https:') ? httpsGet : httpGet;
    // The certificate may be one of the user's own making; this asks only whether somebody is at home.
    const request = get(`${url}/readyz`, { rejectUnauthorized: false, timeout: 2_000, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

function notReady(logPath) {
  return `The gateway was not ready within ${readyWaitMs / 1000} seconds and was stopped; ${logPath} tells more.`;
}

function startFailure(logPath, from, dataDir) {
  const words = lastWords(logPath, from);
  if (words !== undefined) return words;
  if (freeBytes(dataDir) < mib) return diskFull(dataDir).message;
  return `The gateway ended without a word; ${logPath} may tell more.`;
}

/** The last errors that the gateway logged after `from`, or its last plain lines. */
function lastWords(logPath, from) {
  const lines = readFrom(logPath, from)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map(messageOf);
  const errors = lines.filter(({ level }) => level >= 50);
  const told = errors.length > 0 ? errors.slice(-1) : lines.slice(-5);
  return told.length === 0 ? undefined : told.map(({ text }) => text).join('\n');
}

function messageOf(line) {
  try {
    const { level, msg } = JSON.parse(line);
    return typeof msg === 'string' ? { level, text: msg } : { level: 0, text: line };
  } catch {
    return { level: 0, text: line };
  }
}

function readFrom(path, from) {
  const bytes = Buffer.alloc(64 * 1024);
  const file = openSync(path, 'r');
  try {
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, from)).toString('utf8');
  } finally {
    closeSync(file);
  }
}

function rotate(logPath) {
  if (existsSync(logPath) && statSync(logPath).size > logBytesMax) renameSync(logPath, `${logPath}.1`);
  if (existsSync(logPath)) chmodSync(logPath, 0o600);
}

/** Stops the gateway that start.sh left running in this data folder, and waits until it is gone. */
async function stop(dataDir, main) {
  const pid = runningPid(dataDir, main);
  if (pid === undefined) {
    console.log(`No gateway is running in ${dataDir}.`);
    return;
  }
  process.kill(pid, 'SIGTERM');
  const until = performance.now() + stopWaitMs;
  while (isAlive(pid)) {
    if (performance.now() > until) {
      throw new Obstacle(`The gateway (process ${pid}) did not stop within ${stopWaitMs / 1000} seconds.`);
    }
    await delay(pollMs);
  }
  rmSync(join(dataDir, 'gateway.pid'), { force: true });
  console.log('The gateway has stopped.');
}

/** The recorded process, if it still is a gateway of this project on this data folder and not one that got its number since. */
function runningPid(dataDir, main) {
  const pid = Number(readText(join(dataDir, 'gateway.pid')));
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return undefined;
  return isOurs(pid, dataDir, main) ? pid : undefined;
}

function isOurs(pid, dataDir, main) {
  if (process.platform !== 'linux')
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).includes(main);
  const command = readText(`/proc/${pid}/cmdline`).split('\0');
  const environment = readText(`/proc/${pid}/environ`).split('\0');
  return command.includes(main) && environment.includes(`TALOS_DATA_DIR=${dataDir}`);
}

/** A zombie is not alive: its parent has merely not asked for its exit code yet. */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  return !/^State:\s+Z/m.test(readText(`/proc/${pid}/status`));
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

function freeBytes(path) {
  if (!existsSync(path)) return freeBytes(dirname(path));
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

function isDiskFull({ code }) {
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function diskFull(folder) {
  return new Obstacle(
    `The disk that holds ${folder} is full: free some space there, or set TALOS_DATA_DIR to a folder on another disk.`,
  );
}

/**
 * One run of a tool server as a child process: spawned without a shell, with an environment of its own, in a process
 * group of its own so that nothing of it survives its stop. Messages are lines on stdin and stdout.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { delimiter, dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { ConnectionOptions } from '../connection.ts';
import { LineFramer } from '../duplex/line-framer.ts';
import type { WireEvents } from '../duplex/wire.ts';
import { limitedCommand } from './process-limits.ts';
import { logStderr } from './stderr-log.ts';

/** After its exit a process's last output may still be in the pipe; a grandchild could hold the pipe open for ever. */
const drainMs = 250;

export class StdioProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #bounds: ConnectionOptions['bounds'];
  readonly #exited: Promise<void>;

  constructor(options: Pick<ConnectionOptions, 'spec' | 'clock' | 'log' | 'bounds'>, events: WireEvents) {
    const { spec, bounds } = options;
    this.#bounds = bounds;
    const { command, args } = limitedCommand(spec);
    this.#child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      shell: false,
      // Its own process group: a signal reaches its children too, and the terminal's Ctrl-C does not.
      detached: true,
      windowsHide: true,
      env: { ...defaultEnvironment(), ...spec.env },
      ...(spec.cwd !== undefined && { cwd: spec.cwd }),
    });
    this.#assertPipes();
    this.#exited = this.#watchExit(events.onOver);
    this.#readLines(events);
    logStderr(this.#child.stderr, { ...options, isStarting: events.isStarting });
    // A broken pipe is followed by the exit, which says it all.
    this.#child.stdin.on('error', () => undefined);
  }

  /** Writes one message. False when the process takes nothing any more or reads too slowly; nothing is written then. */
  write(message: string): boolean {
    const { stdin } = this.#child;
    if (!stdin.writable || stdin.writableLength > this.#bounds.stdioQueueBytesMax) return false;
    stdin.write(`${message}\n`);
    return true;
  }

  /** End of input, then SIGTERM, then SIGKILL, each after its grace. Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    if (await this.#goneWithin(this.#bounds.stdioStopGraceMs)) return;
    this.#signal('SIGTERM');
    if (await this.#goneWithin(this.#bounds.stdioStopGraceMs)) return;
    this.kill();
    await this.#exited;
  }

  kill(): void {
    this.#signal('SIGKILL');
  }

  /** With no file descriptor left there are no pipes either, and the error that is reported later is known already. */
  #assertPipes(): void {
    const { stdin } = this.#child as { readonly stdin?: Writable };
    if (stdin !== undefined) return;
    this.#child.once('error', () => undefined);
    throw new Error('the gateway has too many files open');
  }

  #readLines({ onMessage, onTooLarge }: WireEvents): void {
    const framer = new LineFramer(this.#bounds.upstreamResponseBytesMax, (line) => {
      if (line.length > 0) onMessage(line);
    });
    const { stdout } = this.#child;
    stdout.on('data', (chunk: Buffer) => {
      try {
        framer.push(chunk);
      } catch {
        stdout.destroy();
        onTooLarge();
      }
    });
    stdout.on('error', () => undefined);
  }

  #watchExit(onExit: (reason: string) => void): Promise<void> {
    const child = this.#child;
    return new Promise((resolve) => {
      let over = false;
      const end = (reason: string) => {
        if (over) return;
        over = true;
        // What it left behind in its group goes with it.
        this.kill();
        for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
        onExit(reason);
        resolve();
      };
      child.once('error', (error: NodeJS.ErrnoException) => {
        // Also reported for a signal that could not be sent, which is no exit.
        if (child.pid === undefined) end(`it cannot be started (${error.code ?? 'unknown reason'})`);
      });
      child.once('exit', (code, signal) => {
        const reason = signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`;
        const timer = setTimeout(end, drainMs, reason);
        child.once('close', () => {
          clearTimeout(timer);
          end(reason);
        });
      });
    });
  }

  async #goneWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, ms, false);
    });
    const gone = await Promise.race([this.#exited.then(() => true), late]);
    clearTimeout(timer);
    return gone;
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is gone already.
    }
  }
}

/** What every server gets. Not inherited: the gateway's environment holds its secrets. */
function defaultEnvironment(): Record<string, string> {
  // The folder of the running Node first, so that `node` and `npx` are those that run the gateway.
  const path = [
    dirname(process.execPath),
    '/usr/local/sbin',
    '/usr/local/bin',
    '/usr/sbin',
    '/usr/bin',
    '/sbin',
    '/bin',
    '/opt/homebrew/bin',
  ];
  return { PATH: path.join(delimiter), HOME: homedir(), LANG: 'C.UTF-8' };
}

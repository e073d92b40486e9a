/** Reads a Dockerfile and carries out its stages in plain folders: what an engine would do, minus the isolation. */
import { execFile } from 'node:child_process';
import { cp, mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

export interface Instruction {
  /** In capitals. */
  readonly name: string;
  /** Such as `--from=builder`. */
  readonly flags: readonly string[];
  readonly rest: string;
}

export interface Stage {
  readonly name: string;
  readonly image: string;
  readonly instructions: readonly Instruction[];
}

export interface Dockerfile {
  /** Before the first stage. */
  readonly args: Readonly<Record<string, string>>;
  readonly stages: readonly Stage[];
}

export function parseDockerfile(text: string): Dockerfile {
  const args: Record<string, string> = {};
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  for (const instruction of instructionsOf(text)) {
    const stage = stages.at(-1);
    if (instruction.name === 'FROM') stages.push(stageOf(instruction, args));
    else if (stage !== undefined) stage.instructions.push(instruction);
    else Object.assign(args, pairs(instruction.rest));
  }
  return { args, stages };
}

function stageOf(
  { rest }: Instruction,
  args: Readonly<Record<string, string>>,
): Stage & { instructions: Instruction[] } {
  const [image = '', name = ''] = rest.split(/\s+AS\s+/i);
  return { name, image: expand(image, args), instructions: [] };
}

function instructionsOf(text: string): Instruction[] {
  const lines = text
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n');
  return lines.filter((line) => line.trim() !== '').map(instructionOf);
}

function instructionOf(line: string): Instruction {
  const [, name = '', flags = '', rest = ''] = /^\s*(\w+)\s+((?:--\S+\s+)*)(.*)$/.exec(line) ?? [];
  return { name: name.toUpperCase(), flags: flags.split(/\s+/).filter(Boolean), rest: rest.trim() };
}

/** `A="1" B=2`, and a lone `A`, which has no value. */
function pairs(rest: string): Record<string, string> {
  const found = [...rest.matchAll(/([\w.]+)(?:=(?:"([^"]*)"|(\S*)))?/g)];
  return Object.fromEntries(found.map(([, name = '', quoted, plain]) => [name, quoted ?? plain ?? '']));
}

function expand(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => values[name] ?? '');
}

/** The instructions of one kind in a stage. */
export function all(stage: Stage, name: string): Instruction[] {
  return stage.instructions.filter((instruction) => instruction.name === name);
}

/** The environment that a stage sets, with the build's arguments filled in. */
export function environmentOf(stage: Stage, buildArgs: Readonly<Record<string, string>>): Record<string, string> {
  const values: Record<string, string> = {};
  const environment: Record<string, string> = {};
  for (const { name, rest } of stage.instructions) {
    if (name === 'ARG') Object.assign(values, pairs(rest), pick(buildArgs, Object.keys(pairs(rest))));
    if (name !== 'ENV') continue;
    for (const [key, value] of Object.entries(pairs(rest))) environment[key] = expand(value, values);
  }
  return environment;
}

function pick(from: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(from).filter(([name]) => names.includes(name)));
}

export interface BuildOptions {
  /** Where the stages are made, each in a folder of its name. */
  readonly folder: string;
  /** The folder that COPY reads from. */
  readonly context: string;
  /** The environment of RUN. */
  readonly environment: Readonly<Record<string, string>>;
  /** Carries out a RUN in another way; false when it does not. */
  readonly instead?: (command: string, folder: string) => Promise<boolean>;
}

export interface Build {
  /** The working folder of a stage. */
  readonly workdirOf: (stage: string) => string;
}

const execute = promisify(execFile);

/** Carries out every COPY and RUN. A RUN is run by the shell in the stage's working folder. */
export async function buildStages({ stages }: Dockerfile, options: BuildOptions): Promise<Build> {
  const { folder } = options;
  const rootOf = (name: string) => join(folder, name);
  const workdirs = new Map<string, string>();
  for (const stage of stages) {
    workdirs.set(stage.name, join(rootOf(stage.name), all(stage, 'WORKDIR')[0]?.rest ?? '/'));
    await mkdir(workdirs.get(stage.name) as string, { recursive: true });
    for (const instruction of stage.instructions) await carryOut(instruction, workdirs.get(stage.name) as string);
  }

  async function carryOut(instruction: Instruction, workdir: string): Promise<void> {
    if (instruction.name === 'COPY') await copy(instruction, workdir);
    if (instruction.name !== 'RUN') return;
    if (await options.instead?.(instruction.rest, workdir)) return;
    try {
      await execute('sh', ['-ec', instruction.rest], { cwd: workdir, env: options.environment });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`RUN ${instruction.rest} failed: ${stdout}${stderr}`, { cause: error });
    }
  }

  async function copy({ flags, rest }: Instruction, workdir: string): Promise<void> {
    const from = flags.find((flag) => flag.startsWith('--from='))?.slice('--from='.length);
    const paths = rest.split(/\s+/);
    const target = paths.pop() ?? '';
    for (const path of paths) {
      const source = join(from === undefined ? options.context : rootOf(from), path);
      const into = target.endsWith('/') ? join(workdir, target, basename(path)) : join(workdir, target);
      await mkdir(dirname(into), { recursive: true });
      await cp(source, into, { recursive: true, verbatimSymlinks: true });
    }
  }

  return { workdirOf: (stage) => workdirs.get(stage) ?? folder };
}

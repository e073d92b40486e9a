/**
 * Finds the one configuration file, reads it as YAML and flattens it into entries by key. Our keys stand at the top;
 * the sections of the older layout become dotted keys, and `extensions.gateway` is another place for ours. Sentences
 * about a broken file name the line and never quote it, because it may hold secrets.
 */
import { resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { isJsonObject } from '../core/json.ts';
import { bounds } from './bounds.ts';
import type { Environment } from './env.ts';
import type { Files } from './files.ts';
import type { Findings } from './findings.ts';
import { legacyNames, legacySections } from './legacy-names.ts';
import { suggest } from './nearest.ts';
import { settingList } from './settings.ts';

/** Names the file to read in place of the usual ones. */
export const fileVariable = 'TALOS_CONFIG';

/** The usual file names, relative to the working directory; the first that exists is read. */
export const fileNames: readonly string[] = [
  'talos.config.yaml',
  ...legacyNames.filter(({ kind }) => kind === 'file').map(({ name }) => name),
];

export interface FileEntry {
  /** The key as it belongs to the settings table, such as `port` or `gateway.port`. */
  readonly key: string;
  /** The key with the file's path, for sentences. */
  readonly shown: string;
  readonly value: unknown;
}

export interface ConfigFile {
  readonly path: string;
  /** Permission bits of the file. */
  readonly mode: number;
  readonly entries: readonly FileEntry[];
}

/** The configuration file, or undefined when there is none. What is wrong with it goes to `findings`. */
export function readConfigFile(
  env: Environment,
  cwd: string,
  files: Files,
  findings: Findings,
): ConfigFile | undefined {
  const found = findFile(env, cwd, files, findings);
  if (found === undefined) return undefined;
  const content = parseYaml(found.text, found.path, findings);
  const entries = content === undefined ? [] : flatten(content, found.path, findings);
  return { path: found.path, mode: found.mode, entries: entries.filter((entry) => isKnown(entry, findings)) };
}

interface FoundFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

function findFile(env: Environment, cwd: string, files: Files, findings: Findings): FoundFile | undefined {
  const wanted = env[fileVariable]?.trim() ?? '';
  const names = wanted === '' ? fileNames : [wanted];
  const found = names
    .map((name) => readOne(resolve(cwd, name), files, findings))
    .filter((candidate) => candidate !== undefined);
  if (found.length === 0 && wanted !== '' && findings.problems.length === 0) {
    findings.problem(`${fileVariable} names a file that does not exist: ${resolve(cwd, wanted)}.`);
  }
  for (const { path } of found.slice(1))
    findings.warn(`${path} is ignored, because ${found[0]?.path} was found first.`);
  return found[0];
}

function readOne(path: string, files: Files, findings: Findings): FoundFile | undefined {
  try {
    const file = files.read(path);
    return file === undefined ? undefined : { path, ...file };
  } catch (error) {
    findings.problem(`${path} cannot be read (${errorCode(error)}): make it a file that this user may read.`);
    return undefined;
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

function parseYaml(text: string, path: string, findings: Findings): Record<string, unknown> | undefined {
  if (Buffer.byteLength(text) > bounds.configFileBytesMax) {
    findings.problem(`${path} is larger than ${bounds.configFileBytesMax} bytes.`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'error',
  });
  for (const error of [...document.errors, ...document.warnings]) {
    findings.problem(`${path} is not valid YAML at line ${lines.linePos(error.pos[0]).line} (${error.code}).`);
  }
  return document.errors.length > 0 ? undefined : toMap(document, path, findings);
}

function toMap(
  document: ReturnType<typeof parseDocument>,
  path: string,
  findings: Findings,
): Record<string, unknown> | undefined {
  try {
    return asMap(document.toJS({ maxAliasCount: bounds.configAliasesMax }) ?? {}, path, findings);
  } catch {
    findings.problem(`${path} has an alias (*name) without its anchor, or aliases that expand without measure.`);
    return undefined;
  }
}

function asMap(value: unknown, where: string, findings: Findings): Record<string, unknown> | undefined {
  if (isMap(value)) return value;
  findings.problem(`${where} must be a map of keys and values.`);
  return undefined;
}

/** A plain object, as YAML maps become. */
export function isMap(value: unknown): value is Record<string, unknown> {
  return isJsonObject(value);
}

function flatten(content: Record<string, unknown>, path: string, findings: Findings): FileEntry[] {
  const list = (map: unknown, prefix: string, keyPrefix: string): FileEntry[] => {
    const inner = map === null ? {} : asMap(map, `${prefix.slice(0, -1)} in ${path}`, findings);
    return Object.entries(inner ?? {})
      .filter(([, value]) => value !== null)
      .map(([key, value]) => ({ key: keyPrefix + key, shown: `${prefix}${key} in ${path}`, value }));
  };
  return Object.entries(content).flatMap(([key, value]) => {
    if ((legacySections as readonly string[]).includes(key)) return list(value, `${key}.`, `${key}.`);
    if (key === 'extensions') return list(extensionOf(value, path, findings), 'extensions.gateway.', '');
    return value === null ? [] : [{ key, shown: `${key} in ${path}`, value }];
  });
}

function extensionOf(extensions: unknown, path: string, findings: Findings): unknown {
  const map = extensions === null ? {} : asMap(extensions, `extensions in ${path}`, findings);
  return map?.['gateway'] ?? null;
}

/** Every key that a file may hold, dotted ones for the older layout. */
export const fileKeys: readonly string[] = [
  ...new Set([
    ...settingList.flatMap(([, { file }]) => file),
    'servers',
    ...legacyNames.filter(({ kind }) => kind === 'file key').map(({ name }) => name),
  ]),
];

function isKnown(entry: FileEntry, findings: Findings): boolean {
  if (fileKeys.includes(entry.key)) return true;
  findings.problem(`${entry.shown} is not a setting. ${suggest(entry.key, fileKeys)}`);
  return false;
}

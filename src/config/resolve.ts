/**
 * Resolves every setting of the table through the layers: default < file < environment. All values that are present
 * are checked, the overridden ones too, so that one start shows every mistake.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ConfigFile } from './config-file.ts';
import { overrideName } from './environment-layer.ts';
import type { Findings } from './findings.ts';
import { Secret } from './secret.ts';
import { type Setting, type SettingKey, settingList, type Values } from './settings.ts';

/** Where an effective value comes from. */
export interface Source {
  readonly layer: 'default' | 'file' | 'env';
  /** The name or key that won, absent for a default. */
  readonly name?: string;
}

export interface Resolved {
  readonly values: Values;
  readonly sources: Readonly<Record<SettingKey, Source>>;
  /** Settings with a refused value; rules that need them would only repeat the complaint. */
  readonly failed: ReadonlySet<SettingKey>;
}

interface Candidate {
  /** The bare name or key, for the parser and for sources. */
  readonly name: string;
  readonly parseAs: string;
  readonly shown: string;
  readonly raw: unknown;
}

interface Winner {
  readonly value: unknown;
  readonly source: Source;
}

/** Resolves all settings; refused values go to `findings` and count as absent. */
export function resolveSettings(
  environment: ReadonlyMap<string, string>,
  file: ConfigFile | undefined,
  findings: Findings,
): Resolved {
  const values: Record<string, unknown> = {};
  const sources: Record<string, Source> = {};
  const failed = new Set<SettingKey>();
  for (const [key, setting] of settingList) {
    const before = findings.problems.length;
    const fromEnv = strongest(setting, 'env', environmentCandidates(setting, environment), findings);
    const fromFile = strongest(setting, 'file', fileCandidates(setting, file), findings);
    if (findings.problems.length > before) failed.add(key);
    const winner: Winner = fromEnv ?? fromFile ?? { value: setting.default, source: { layer: 'default' } };
    values[key] = winner.value;
    sources[key] = winner.source;
  }
  // The loop has visited every entry of the table, and each value came from that entry's parser or default.
  return { values: values as Values, sources: sources as Record<SettingKey, Source>, failed };
}

function environmentCandidates(setting: Setting<unknown>, environment: ReadonlyMap<string, string>): Candidate[] {
  const names = [
    ...setting.env.map((name) => ({ name, parseAs: name })),
    ...setting.file.map((key) => ({ name: overrideName(key), parseAs: key })),
  ];
  return names.flatMap(({ name, parseAs }) => {
    const raw = environment.get(name);
    return raw === undefined ? [] : [{ name, parseAs, shown: name, raw }];
  });
}

function fileCandidates(setting: Setting<unknown>, file: ConfigFile | undefined): Candidate[] {
  return setting.file.flatMap((key) =>
    (file?.entries ?? [])
      .filter((entry) => entry.key === key)
      .map(({ shown, value }) => ({ name: key, parseAs: key, shown, raw: value })),
  );
}

/** The value of the first candidate that is valid. Others must agree with it, or are overruled with a warning. */
function strongest(
  setting: Setting<unknown>,
  layer: 'env' | 'file',
  candidates: readonly Candidate[],
  findings: Findings,
): Winner | undefined {
  const valid = candidates.flatMap((candidate) => {
    const parsed = setting.parse(candidate.raw, candidate.parseAs);
    if (!parsed.ok) findings.problem(`${candidate.shown} ${parsed.problem}.`);
    return parsed.ok ? [{ ...candidate, value: parsed.value }] : [];
  });
  const [first, ...others] = valid;
  if (first === undefined) return undefined;
  const differing = others.filter(({ value }) => !isSame(value, first.value)).map(({ shown }) => shown);
  if (differing.length > 0) reportDisagreement(setting, first.shown, differing, findings);
  return { value: first.value, source: { layer, name: first.name } };
}

function reportDisagreement(
  setting: Setting<unknown>,
  first: string,
  others: readonly string[],
  findings: Findings,
): void {
  const names = others.join(' and ');
  if (setting.mustAgree) findings.problem(`${first} and ${names} contradict each other: let them agree, or keep one.`);
  else findings.warn(`${names} ${others.length > 1 ? 'differ' : 'differs'} from ${first}, which wins.`);
}

function isSame(a: unknown, b: unknown): boolean {
  return a instanceof Secret && b instanceof Secret ? a.equals(b.reveal()) : isDeepStrictEqual(a, b);
}

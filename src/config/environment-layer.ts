/**
 * The environment as a layer of settings: which names are set, the older `DB_*` names joined to one address, the
 * overrides `TALOS__A__B` as names of file keys, and a word about every name that has no effect. Empty values count as
 * absent, because compose files pass on variables that nobody set.
 */
import { fileKeys, fileVariable } from './config-file.ts';
import { joinDatabaseNames } from './database-names.ts';
import type { Environment } from './env.ts';
import type { Findings } from './findings.ts';
import { judgeLegacy } from './legacy-fate.ts';
import { legacyNames } from './legacy-names.ts';
import { nearestName, suggest } from './nearest.ts';
import { parseSecret } from './parse.ts';
import { settingList } from './settings.ts';

const overridePrefix = 'TALOS__';

/** The override name of a file key: `gateway.port` → `TALOS__GATEWAY__PORT`. */
export function overrideName(fileKey: string): string {
  return overridePrefix + fileKey.toUpperCase().replaceAll('.', '__');
}

/** Names whose value stays as it is: their parser refuses white space around a secret rather than guess. */
const exactNames: ReadonlySet<string> = new Set([
  'DB_PASSWORD',
  ...settingList
    .filter(([, { parse }]) => parse === parseSecret)
    .flatMap(([, { env, file }]) => [...env, ...file.map(overrideName)]),
]);

/** The names that are set, with their values as the settings read them. */
export function readEnvironmentLayer(env: Environment, findings: Findings): ReadonlyMap<string, string> {
  const layer = new Map<string, string>();
  for (const [name, raw] of Object.entries(env)) {
    const value = exactNames.has(name) ? raw : raw.trim();
    if (value.trim() !== '') layer.set(name, value);
  }
  joinDatabaseNames(layer, findings);
  for (const [name, value] of layer) judgeName(name, value, findings);
  return layer;
}

const ownNames: ReadonlySet<string> = new Set([fileVariable, ...settingList.flatMap(([, { env }]) => env)]);
const settingKeys: ReadonlySet<string> = new Set(settingList.flatMap(([, { file }]) => file));

// Keys with a value of one word; servers and the other structures of the file have no override.
const overrideKeys = fileKeys.filter(
  (key) =>
    settingKeys.has(key) ||
    legacyNames.some(({ kind, name, fate }) => kind === 'file key' && name === key && fate !== 'honoured'),
);
const overrides = new Map(overrideKeys.map((key) => [overrideName(key), key]));

function judgeName(name: string, value: string, findings: Findings): void {
  if (ownNames.has(name)) return;
  if (name.startsWith(overridePrefix)) judgeOverride(name, value, findings);
  else if (!judgeLegacy('environment', name, name, value, findings) && name.startsWith('TALOS_'))
    warnUnknown(name, findings);
}

function judgeOverride(name: string, value: string, findings: Findings): void {
  const key = overrides.get(name);
  if (key !== undefined) judgeLegacy('file key', key, name, value, findings);
  else findings.problem(`${name} is not a setting. ${suggest(name, [...overrides.keys()])}`);
}

function warnUnknown(name: string, findings: Findings): void {
  const nearest = nearestName(name, [...ownNames]);
  const hint = nearest === undefined ? '' : ` Did you mean ${nearest}?`;
  findings.warn(`${name} is not a setting of the gateway and has no effect.${hint}`);
}

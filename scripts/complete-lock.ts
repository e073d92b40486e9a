/**
 * Completes package-lock.json. npm leaves optional packages for other platforms out of the lock when the registry at hand
 * does not serve them, and `npm ci` then refuses the whole lock. They are added by name and version, as npm itself would
 * have, and are only fetched on the platforms they are for. Run it after every `npm install` that changes the lock.
 */
import { readFile, writeFile } from 'node:fs/promises';

interface Entry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const lockFile = new URL('../package-lock.json', import.meta.url);
const platforms = new Set(['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32']);

const lock = JSON.parse(await readFile(lockFile, 'utf8')) as { packages: Record<string, Entry> };
const missing = Object.entries(lock.packages).flatMap(([path, entry]) => missingOf(path, entry));
for (const [path, entry] of missing) lock.packages[path] = entry;
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
if (missing.length > 0) await writeFile(lockFile, `${JSON.stringify(lock, undefined, 2)}\n`);
console.log(`${missing.length} packages added to package-lock.json`);

function missingOf(path: string, entry: Entry): [string, Entry][] {
  if (path === '') return [];
  return Object.entries(entry.optionalDependencies ?? {})
    .filter(
      ([name]) => !(`node_modules/${name}` in lock.packages) && !(`${path}/node_modules/${name}` in lock.packages),
    )
    .flatMap(([name, version]) => {
      const platform = platformOf(name);
      if (platform === undefined) return [];
      return [[`node_modules/${name}`, { version, ...(entry.dev ? { dev: true } : {}), optional: true, ...platform }]];
    });
}

/** What a package like `@swc/core-linux-arm64-musl` is for, read from its name. */
function platformOf(name: string): object | undefined {
  const parts = (name.split('/').at(-1) ?? '').split('-');
  const at = parts.findIndex((part) => platforms.has(part));
  const [os, cpu, abi] = parts.slice(at);
  if (at < 0 || os === undefined || cpu === undefined) return undefined;
  const isLibc = os === 'linux' && /^(gnu|musl)/.test(abi ?? '');
  return { os: [os], cpu: [cpu], ...(isLibc ? { libc: [abi?.startsWith('musl') ? 'musl' : 'glibc'] } : {}) };
}

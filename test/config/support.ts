/** Real files and the few lines that every configuration test needs. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type LoadedConfig, loadConfig } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/config-error.ts';

export const trustedDid = 'did:talos:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';

/** An environment that a production start accepts without a word. */
export const soundEnv: Readonly<Record<string, string>> = {
  AUTH_ADMIN_SECRET: 'v5Kx1QeXb9rPz7Lm',
  MCP_SERVER_GIT: 'http://127.0.0.1:9/mcp',
  TALOS_TRUSTED_ISSUERS: trustedDid,
};

/** A folder with these files, which goes away with the test. */
export function makeFolder(files: Readonly<Record<string, string>> = {}, mode = 0o600): string {
  const folder = mkdtempSync(join(tmpdir(), 'talos-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    chmodSync(path, mode);
  }
  return folder;
}

/** Loads in a folder that holds only the given `talos.config.yaml`. */
export function load(env: Readonly<Record<string, string>>, yaml?: string): LoadedConfig {
  return loadConfig({ env, cwd: makeFolder(yaml === undefined ? {} : { 'talos.config.yaml': yaml }) });
}

/** The problems that a load is refused with; fails when it is not refused. */
export function problemsOf(attempt: () => unknown): readonly string[] {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('The configuration was accepted.');
}

/** The same for an environment and a file. */
export function refusal(env: Readonly<Record<string, string>>, yaml?: string): readonly string[] {
  return problemsOf(() => load(env, yaml));
}

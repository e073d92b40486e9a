import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { type LegacyName, legacyNames } from '../../src/config/legacy-names.ts';
import { serverKeys } from '../../src/config/server-entry.ts';
import { type Setting, settingList } from '../../src/config/settings.ts';

const page = readFileSync(fileURLToPath(new URL('../../docs/configuration.md', import.meta.url)), 'utf8');

const code = (text: string) => `\`${text}\``;
const row = (...cells: string[]) => `| ${cells.join(' | ')} |`;

function defaultOf({ default: value, defaultText }: Setting<unknown>): string {
  if (defaultText !== undefined) return defaultText;
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return 'none';
  return code(String(value));
}

function settingRow(setting: Setting<unknown>): string {
  const [ours] = setting.file;
  return row(code(ours), setting.env.map(code).join(', '), defaultOf(setting), setting.meaning);
}

function legacyRow({ name, kind, fate, note }: LegacyName): string {
  const told = settingList.some(([, { file }]) => file[0] === note) || note === 'servers' ? `as ${code(note)}` : note;
  return row(code(name), kind, fate, told);
}

/** The rows of the table under a heading, without its head. */
function tableUnder(heading: string): string[] {
  const section = page.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2);
}

function codeBlocks(language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, text]) => text ?? '');
}

describe('docs/configuration.md', () => {
  it('lists every setting as the table in code has it, and no other', () => {
    expect(tableUnder('Settings')).toEqual(settingList.map(([, setting]) => settingRow(setting)));
  });

  it('lists every legacy name as the table in code has it, and no other', () => {
    expect(tableUnder('Names of earlier gateways')).toEqual(legacyNames.map(legacyRow));
  });

  it('lists every key of a tool server, and no other', () => {
    const listed = tableUnder('Tool servers').map((line) => /^\| `([^`]+)`/.exec(line)?.[1]);
    expect(listed).toEqual(serverKeys);
  });

  it('shows files that load', () => {
    const blocks = codeBlocks('yaml');
    expect(blocks.length).toBeGreaterThan(0);
    for (const text of blocks) {
      const files = { read: (path: string) => (path === '/w/talos.config.yaml' ? { text, mode: 0o600 } : undefined) };
      const env = { AUTH_ADMIN_SECRET: 'v5Kx1QeXb9rPz7Lm', GITHUB_TOKEN: 'ghp_x' };
      const { warnings } = loadConfig({ env, cwd: '/w', files: { ...files, isReadable: () => true } });
      expect(warnings).toEqual([]);
    }
  });
});

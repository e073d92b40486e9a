/** The verifier stands alone: whoever audits it needs to read nothing else, and it runs where Node does not. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const folder = resolve(import.meta.dirname, '../../verifier');
const files = readdirSync(folder);
const texts = files.map((file) => [file, readFileSync(join(folder, file), 'utf8')] as const);

describe('the verifier', () => {
  it('is there, and is TypeScript only', () => {
    expect(files).toContain('index.ts');
    expect(files.filter((file) => !file.endsWith('.ts'))).toEqual([]);
  });

  it.each(texts)('%s imports nothing but its neighbours', (_, text) => {
    const imported = [...text.matchAll(/\bfrom '([^']*)'|\bimport\(|\bimport '([^']*)'|\brequire\(/g)].map(
      ([all, name]) => name ?? all,
    );
    for (const name of imported) expect(name).toMatch(/^\.\/[a-z]+\.ts$/);
  });

  it.each(texts)('%s uses nothing that only Node or only browsers have', (_, text) => {
    const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    expect(code).not.toMatch(
      /\b(?:process|Buffer|require|global|window|document|__dirname|fetch|setImmediate)\b|'node:/,
    );
  });

  it('is small enough to be read in one sitting', () => {
    const code = texts.flatMap(([, text]) => text.split('\n').filter((line) => !/^\s*(?:\/\/|\/?\*|$)/.test(line)));
    expect(code.length).toBeLessThan(800);
  });
});

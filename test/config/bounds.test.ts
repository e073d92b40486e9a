/** The bounds are put together from parts, and one part must not quietly overrule another. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';

const folder = new URL('../../src/config/bounds/', import.meta.url);

it('hold each name once, of every part', async () => {
  const parts = await Promise.all(readdirSync(folder).map((file) => import(new URL(file, folder).href)));
  const names = parts.flatMap((part) => Object.values<object>(part).flatMap((values) => Object.keys(values)));
  expect(names.toSorted()).toEqual(Object.keys(bounds).toSorted());
});

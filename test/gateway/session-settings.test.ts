/** What a session with all servers keeps of what its client has set. */
import { expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { SessionSettings } from '../../src/gateway/native/sessions/session-settings.ts';

it('knows what is watched at which server, each once, and no more than there may be', () => {
  const settings = new SessionSettings();
  expect(settings.watchedAt('a')).toEqual([]);
  settings.unwatch('a', 'x:0');
  for (let n = 0; n < bounds.mcpSessionWatchedMax; n++) {
    expect(settings.hasRoomFor('a', `x:${n}`)).toBe(true);
    settings.watch('a', `x:${n}`);
  }
  expect([settings.hasRoomFor('a', 'x:0'), settings.hasRoomFor('b', 'x:0')]).toEqual([true, false]);
  settings.watch('a', 'x:0');
  settings.unwatch('a', 'x:0');
  settings.unwatch('a', 'x:0');
  expect([settings.hasRoomFor('b', 'x:0'), settings.watchedAt('a').includes('x:0')]).toEqual([true, false]);
  settings.watch('b', 'x:0');
  expect([settings.hasRoomFor('a', 'x:0'), settings.watchedAt('b')]).toEqual([false, ['x:0']]);
});

it('keeps no more text than there may be, however few resources it is of', () => {
  const settings = new SessionSettings();
  const long = 'x'.repeat(bounds.mcpSessionWatchedCharsMax - 1);
  expect(settings.hasRoomFor('a', `${long}xx`)).toBe(false);
  settings.watch('a', `${long}xx`);
  expect(settings.watchedAt('a')).toEqual([]);
  settings.watch('a', long);
  expect([settings.hasRoomFor('b', 'yy'), settings.hasRoomFor('b', 'y'), settings.hasRoomFor('a', long)]).toEqual([
    ...[false, true, true],
  ]);
  settings.unwatch('a', long);
  expect([settings.hasRoomFor('b', 'yy'), settings.watches('a', long)]).toEqual([true, false]);
});

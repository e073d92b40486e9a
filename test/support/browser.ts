/**
 * A real browser for tests: the Chromium of the system, headless, without the connections that it makes by itself.
 * Where there is none, tests that need it are skipped with that as the reason, and in CI they fail.
 */
import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { describe } from 'vitest';

const programs = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const program = programs.find((path) => existsSync(path));

// Tests run as root in CI, where Chromium has no sandbox.
const args = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const isSkipped = program === undefined && !process.env['CI'];

/** `describe` for tests that need a browser. */
export function describeInBrowser(name: string, tests: () => void): void {
  describe.skipIf(isSkipped)(isSkipped ? `${name} (Chromium is not installed)` : name, tests);
}

/** A browser with a profile of its own, which is gone when it is closed. The caller closes it. */
export async function launchBrowser(): Promise<Browser> {
  if (program === undefined) throw new Error('Chromium is not installed: apt-get install chromium');
  return await chromium.launch({ executablePath: program, args });
}

/** What a page did that no good page does: scripts that failed, requests that were blocked, and words on its console. */
export function complaintsOf(page: Page): readonly string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  return complaints;
}

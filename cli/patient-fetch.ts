/** A GET that is tried again, after longer and longer pauses, as long as that may help. */
import { setTimeout as delay } from 'node:timers/promises';

const firstRetryMs = 250;
const timeoutMs = 30_000;

/** The answer, or the last one that was none of success; undefined when nobody answers. */
export async function fetchPatiently(
  url: URL,
  headers: Record<string, string>,
  attemptsMax: number,
): Promise<Response | undefined> {
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(timeoutMs) }).catch(() => undefined);
    if (response?.ok === true) return response;
    const mayHelp = response === undefined || response.status === 429 || response.status >= 500;
    if (!mayHelp || attempt === attemptsMax) return response;
    await response?.body?.cancel();
    await delay(firstRetryMs * 2 ** (attempt - 1));
  }
}

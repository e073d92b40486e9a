/** Where the gateway is that a command speaks to. */
import { UsageError } from './usage-error.ts';

export const gatewayUrlDefault = 'http://127.0.0.1:8000';

/** Throws a `UsageError` for what is no URL. */
export function assertUrl(url: string): void {
  if (!URL.canParse(url)) throw new UsageError(`${url} is not a URL; write ${gatewayUrlDefault}.`);
}

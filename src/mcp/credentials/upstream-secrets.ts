/**
 * Credentials of tool servers by name: filled in when a request is sent or a process is started, so that a secret that
 * was changed is used from then on, and one that is gone stops what needs it.
 */
import { secretRecord } from '../../config/secret.ts';
import { describeError } from '../../core/errors.ts';
import { fillSecrets, secretNamesIn } from '../../core/secret-reference.ts';
import type { Deadline } from '../deadline.ts';
import { UpstreamError } from '../upstream-error.ts';

/** The value of a secret; undefined when there is none of this name. */
export type SecretOf = (name: string) => Promise<string | undefined>;

type Texts = Readonly<Record<string, string>>;

/** The texts without references, at once when there are none to fill in. */
export type FilledTexts = (deadline: Deadline) => Texts | Promise<Texts>;

/** Rejects with `UpstreamError` when a secret is not there or cannot be read, or when a value fails `isSound`. */
export function texts(given: Texts, secretOf: SecretOf | undefined, isSound: (value: string) => boolean): FilledTexts {
  const names = [...new Set(Object.values(given).flatMap(secretNamesIn))];
  if (names.length === 0) return () => given;
  return async (deadline) => {
    const values = new Map<string, string>();
    for (const name of names) values.set(name, await deadline.wait(secretValue(name, secretOf)));
    const filled = Object.entries(given).map(([key, text]) => [key, fillSecrets(text, values)] as const);
    const unsound = filled.find(([, text]) => !isSound(text));
    if (unsound !== undefined) throw unavailable(`with its secret, ${unsound[0]} has a value that cannot be sent`);
    return secretRecord(Object.fromEntries(filled));
  };
}

async function secretValue(name: string, secretOf: SecretOf | undefined): Promise<string> {
  const value = await secretOf?.(name).catch((error: unknown) => {
    throw unavailable(`the secret ${name} cannot be read: ${describeError(error)}`);
  });
  if (value === undefined) throw unavailable(`the secret ${name} is not set`);
  return value;
}

function unavailable(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: false, isOurs: true, inside });
}

/** Which of a log's keys are out of use, as far as its newest checkpoint tells. */
import { parseNote } from '../core/note.ts';

/**
 * Of the verifier keys, oldest first, those that did not sign the checkpoint although a newer one of them did. While a new
 * key is being handed out, gateways that have only the old one still sign: then neither is out of use.
 */
export function retiredKeys(verifierKeys: readonly string[], note: string): string[] {
  const signers = new Set(signersOf(note));
  const newest = verifierKeys.findLastIndex((key) => signers.has(idOf(key)));
  return verifierKeys.filter((key, index) => index < newest && !signers.has(idOf(key)));
}

/** `<name>+<key id>` of everyone whose signature stands under the note, without judging it. */
export function signersOf(note: string): string[] {
  return parseNote(note).signatures.map(({ name, keyId }) => `${name}+${keyId.toString(16).padStart(8, '0')}`);
}

// Base64 may hold a plus too.
function idOf(verifierKey: string): string {
  return verifierKey.split('+', 2).join('+');
}

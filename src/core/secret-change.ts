/** Secrets at rest, and a change of them as it commits with the record that tells of it. Nothing here is readable. */
import type { Envelope } from './envelope.ts';

export interface SealedSecret {
  readonly name: string;
  /** A UUID of this value, which both envelopes are bound to. */
  readonly secretId: string;
  /** The key that the value is under, itself under the key that `kek_id` names. */
  readonly wrappedKey: Envelope;
  readonly envelope: Envelope;
}

export type SecretChange =
  | { readonly kind: 'put'; readonly secret: SealedSecret }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'start_rotation'; readonly opId: string; readonly targetKekId: string };

/** What a secret may be called: as in `${secret:name}`. */
export const secretNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

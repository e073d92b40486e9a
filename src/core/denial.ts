/**
 * Why a request was refused, in the nine words that existing clients know. A finer machine word goes to the record; the
 * outside sentence is fixed per reason and reveals nothing about the deployment.
 */
import type { ErrorCode } from './errors.ts';

export type DenialReason =
  | 'NO_CAPABILITY'
  | 'EXPIRED'
  | 'REVOKED'
  | 'SCOPE_MISMATCH'
  | 'DELEGATION_INVALID'
  | 'UNKNOWN_TOOL'
  | 'REPLAY'
  | 'SIGNATURE_INVALID'
  | 'INVALID_FRAME';

export interface Denial {
  readonly denied: true;
  readonly reason: DenialReason;
  /** A short machine word for `meta.denial_detail`; never an argument value or a part of a token. */
  readonly detail?: string;
  /** The sentence a caller may see. */
  readonly message: string;
  /** The same request may be allowed a moment later. */
  readonly retryable?: true;
}

interface ReasonSpec {
  readonly message: string;
  readonly code: ErrorCode;
}

const reasons: Readonly<Record<DenialReason, ReasonSpec>> = {
  NO_CAPABILITY: { message: 'This needs a capability, and the request carries none.', code: 'TALOS_DENIED' },
  EXPIRED: { message: 'The capability has expired.', code: 'TALOS_INVALID_CAPABILITY' },
  REVOKED: { message: 'The capability has been revoked.', code: 'TALOS_INVALID_CAPABILITY' },
  SCOPE_MISMATCH: { message: 'The capability does not allow this.', code: 'TALOS_DENIED' },
  DELEGATION_INVALID: {
    message: 'The delegation chain of the capability is not valid.',
    code: 'TALOS_INVALID_CAPABILITY',
  },
  UNKNOWN_TOOL: { message: 'This tool is not one that may be called.', code: 'TALOS_DENIED' },
  REPLAY: { message: 'The request has been seen before.', code: 'TALOS_DENIED' },
  SIGNATURE_INVALID: {
    message: 'The capability is malformed, or its signature is not valid.',
    code: 'TALOS_INVALID_CAPABILITY',
  },
  INVALID_FRAME: { message: 'The signed frame is not valid.', code: 'TALOS_DENIED' },
};

export const denialReasons = Object.keys(reasons) as readonly DenialReason[];

export function deny(reason: DenialReason, detail?: string): Denial {
  const { message } = reasons[reason];
  return detail === undefined ? { denied: true, reason, message } : { denied: true, reason, detail, message };
}

/** True for a denial, false for whatever stood in its place. */
export function isDenial(value: object): value is Denial {
  return 'denied' in value;
}

/** The code of the error table that a denial is answered with. */
export function denialCode(reason: DenialReason): ErrorCode {
  return reasons[reason].code;
}

/** The approval of one call by a human, and a change of it as it commits with the record that tells of it. */

/** A call that is to be approved, by names and hashes; its arguments are kept elsewhere. */
export interface NewApproval {
  /** A UUIDv7. */
  readonly approvalId: string;
  /** hex sha256 of whose call of what it is: who asks again finds it by this. */
  readonly askHash: string;
  /** hex sha256 of the key that the call is reserved under, so that it is made once. */
  readonly keyHash: string;
  /** hex sha256 of what is called with what. */
  readonly requestHash: string;
  readonly principalId: string;
  readonly teamId: string;
  readonly serverId: string;
  readonly toolName: string;
  readonly definitionHash: string;
  readonly ttlSec: number;
}

export interface ToolApproval extends Omit<NewApproval, 'ttlSec'> {
  readonly decision: 'pending' | 'approved' | 'denied';
  readonly isExpired: boolean;
  /** A call was made under it, and what it came to can be told. */
  readonly isKept: boolean;
  readonly requestedAt: Date;
  readonly expiresAt: Date;
  readonly decidedBy?: string;
  readonly decidedAt?: Date;
  readonly reason?: string;
  /** The record of the last call that was made under it. */
  readonly intentId?: string;
}

/** `used`: a call was made under it; `expired`: none was, and none will be. */
export type ApprovalState = ToolApproval['decision'] | 'used' | 'expired';

export function approvalState({ decision, isExpired, intentId }: ToolApproval): ApprovalState {
  if (decision === 'denied') return 'denied';
  if (intentId !== undefined) return 'used';
  return isExpired ? 'expired' : decision;
}

export type ApprovalChange =
  | { readonly kind: 'ask'; readonly approval: NewApproval }
  /** Only of one that is pending. */
  | {
      readonly kind: 'approve' | 'deny';
      readonly approvalId: string;
      readonly decidedBy: string;
      readonly reason?: string;
    }
  /** The record is the intent of a call that is made under it. */
  | { readonly kind: 'use'; readonly approvalId: string };

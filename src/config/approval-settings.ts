/** The settings of approvals of calls by humans. */
import { bounds } from './bounds.ts';
import { parseInteger } from './parse.ts';
import { setting } from './setting.ts';

export const approvalSettings = {
  approvalWaitSec: setting<number>({
    env: ['TALOS_APPROVAL_WAIT_SECONDS'],
    file: ['approval_wait_seconds'],
    parse: parseInteger(0, bounds.approvalWaitSecMax, 'a number of seconds'),
    default: bounds.approvalWaitSecDefault,
    meaning:
      'How long a call that a human has to approve waits for that before its caller is told to ask again. [approvals.md](approvals.md).',
  }),
  approvalTtlSec: setting<number>({
    env: ['TALOS_APPROVAL_TTL_SECONDS'],
    file: ['approval_ttl_seconds'],
    parse: parseInteger(bounds.approvalTtlSecMin, bounds.approvalTtlSecMax, 'a number of seconds'),
    default: bounds.approvalTtlSecDefault,
    meaning: 'How long after it was asked for a call may be approved and made.',
  }),
};

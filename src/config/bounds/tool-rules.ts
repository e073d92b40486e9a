/** Pins, policies and approvals of tools. */
export const toolRuleBounds = {
  // How often every gateway asks whether pins or policies changed; policies are believed for so long when nobody can say.
  toolPinsPollMs: 250,
  toolPoliciesPollMs: 250,
  toolPoliciesAgeMsMax: 5_000,
  // New tools of a server that had this many are not offered.
  toolPinsPerServerMax: 10_000,
  // How often a tool that is held already is recorded with yet another definition.
  toolPinHoldIntervalMs: 600_000,
  // A definition that no pin is of is kept for the pin that is under way.
  toolDefinitionKeptSec: 86_400,
  toolPinDetailsBytesMax: 512 * 1024,
  // How often the log says that the results of one tool are not as its output schema says, and of how many tools that is known.
  resultFaultSaidIntervalMs: 600_000,
  resultFaultsSaidMax: 1_000,
  pinsPageMax: 1_000,
  pinDiffCellsMax: 4_000_000,

  toolPoliciesMax: 1_000,
  toolPolicyBytesMax: 64 * 1024,
  toolPolicyServersMax: 256,
  toolPolicyPatternsMax: 1_000,
  toolPolicyPatternCharsMax: 512,

  // Approvals of calls. Their keys are remembered for longer than any approval can be used.
  approvalTtlSecMin: 1,
  approvalTtlSecDefault: 3_600,
  approvalTtlSecMax: 86_400,
  approvalWaitSecDefault: 5,
  // Who waits is known by what was shown before: a key that is revoked meanwhile counts for that long.
  approvalWaitSecMax: 60,
  approvalPollMs: 250,
  approvalsPendingPerCallerMax: 100,
  // Of a mebibyte of arguments, sealed.
  approvalEnvelopeCharsMax: 1_500_000,
  approvalReasonCharsMax: 500,
  approvalsPageMax: 200,
  approvalKeptSec: 8 * 86_400,
} as const;

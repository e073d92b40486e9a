/** Tools whose definition changed or whose results are not as it says, and calls that wait for a human. */
import { Counter, Gauge, type Registry } from 'prom-client';

export interface PinTelemetry {
  /** How many tools of each server wait for an operator because their definition changed. */
  readonly pinsHeld: (byServer: ReadonlyMap<string, number>) => void;
  /** A structured result passed that is not as the output schema of its tool says. `fault`: a fixed word. */
  readonly resultMismatched: (serverId: string, fault: string) => void;
  /** An approval of a call was asked for, or what became of one that was. */
  readonly approvalChanged: (what: 'asked' | 'approved' | 'denied') => void;
}

export function createPinTelemetry(registry: Registry): PinTelemetry {
  const held = new Gauge({
    name: 'gateway_tool_pins_held',
    help: 'Tools of a server that are not called because their definition changed and nobody has decided on it yet.',
    labelNames: ['server'],
    registers: [registry],
  });
  const mismatches = new Counter({
    name: 'gateway_tool_result_mismatches_total',
    help: 'Results that are not as the output schema of their tool says, by server and fault.',
    labelNames: ['server', 'fault'],
    registers: [registry],
  });
  const approvals = new Counter({
    name: 'gateway_tool_approvals_total',
    help: 'Approvals of tool calls that were asked for, given and denied.',
    labelNames: ['what'],
    registers: [registry],
  });
  return {
    pinsHeld(byServer) {
      held.reset();
      for (const [server, count] of byServer) held.set({ server }, count);
    },
    resultMismatched(server, fault) {
      mismatches.inc({ server, fault });
    },
    approvalChanged(what) {
      approvals.inc({ what });
    },
  };
}

/** Events as agents report them, each of which becomes a record of about 600 bytes. */
import { randomUUID } from 'node:crypto';

const eventTypes = ['tool_call', 'agent_message', 'policy_check', 'session_update'];

/** The event number `n`, as `POST /api/events` takes it. */
export function sampleEvent(n: number): object {
  return {
    event_type: eventTypes[n % eventTypes.length],
    actor: `did:talos:agent-${n % 200}`,
    action: 'forecast.read',
    resource: `weather/forecast/${n % 1000}`,
    metadata: { session_id: `session-${n % 500}`, correlation_id: randomUUID(), region: 'eu-west', attempt: n % 3 },
  };
}

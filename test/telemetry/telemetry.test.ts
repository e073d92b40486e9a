import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createTelemetry, type Telemetry } from '../../src/telemetry/telemetry.ts';

function collected(level = 'info'): { telemetry: Telemetry; lines: () => Record<string, unknown>[] } {
  const chunks: string[] = [];
  const destination = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  const lines = () =>
    chunks
      .join('')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { telemetry: createTelemetry({ level, destination }), lines };
}

async function exposed(telemetry: Telemetry): Promise<string[]> {
  return (await telemetry.exposition()).text.split('\n');
}

describe('telemetry', () => {
  it('counts requests by method, endpoint and status, without a log line for each', async () => {
    const { telemetry, lines } = collected('trace');
    telemetry.requestAnswered({ method: 'GET', endpoint: '/healthz', status: 200, seconds: 0.002 });
    telemetry.requestAnswered({ method: 'GET', endpoint: '/healthz', status: 200, seconds: 0.002 });
    telemetry.requestAnswered({ method: 'POST', endpoint: '/api/events', status: 503, seconds: 0.002 });
    const text = await exposed(telemetry);
    expect(text).toContain('gateway_requests_total{method="GET",endpoint="/healthz",status="200"} 2');
    expect(text).toContain('gateway_requests_total{method="POST",endpoint="/api/events",status="503"} 1');
    expect(text).toContain('gateway_request_duration_seconds_count{method="GET",endpoint="/healthz"} 2');
    expect(telemetry.requestsTotal()).toBe(3);
    expect(lines()).toEqual([]);
  });

  it('counts decisions, and denials by their reason', async () => {
    const { telemetry } = collected();
    telemetry.decided(undefined);
    telemetry.decided({ reason: 'SCOPE_MISMATCH' });
    telemetry.decided({ reason: 'SCOPE_MISMATCH' });
    const text = await exposed(telemetry);
    expect(text).toContain('gateway_capability_checks_total{result="allowed"} 1');
    expect(text).toContain('gateway_capability_checks_total{result="denied"} 2');
    expect(text).toContain('gateway_denials_total{reason="SCOPE_MISMATCH"} 2');
  });

  it('counts tool calls by server and outcome, never by tool', async () => {
    const { telemetry } = collected();
    telemetry.toolAnswered({ serverId: 'git', outcome: 'failure', seconds: 0.1 });
    const text = await exposed(telemetry);
    expect(text).toContain('gateway_tool_calls_total{server="git",outcome="failure"} 1');
    expect(text.some((line) => line.includes('tool='))).toBe(false);
  });

  it('says once that the log fails, once that it works again, and knows which it is', async () => {
    const { telemetry, lines } = collected();
    telemetry.batchCommitted({ records: 3, seconds: 0.01 });
    expect(telemetry.isLogFailing()).toBe(false);
    telemetry.batchFailed('gone');
    telemetry.batchFailed('still gone');
    expect(telemetry.isLogFailing()).toBe(true);
    telemetry.batchCommitted({ records: 2, seconds: 0.01 });
    telemetry.batchCommitted({ records: 0, seconds: 0.01 });
    expect(telemetry.isLogFailing()).toBe(false);
    expect(lines().map(({ msg }) => msg)).toEqual([
      'the audit log cannot be written: requests that need a record are refused',
      'the audit log accepts records again',
    ]);
    expect(lines()[0]).toMatchObject({ reason: 'gone', level: 50 });
    const text = await exposed(telemetry);
    expect(text).toContain('gateway_audit_records_total 5');
    expect(text).toContain('gateway_audit_commit_failures_total 2');
  });

  it('logs failed requests with their id and reason, as JSON with an ISO time', () => {
    const { telemetry, lines } = collected();
    telemetry.requestFailed({ requestId: 'r-1', endpoint: '/api/events', reason: 'why' });
    expect(lines()).toEqual([
      {
        level: 50,
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        requestId: 'r-1',
        endpoint: '/api/events',
        reason: 'why',
        msg: 'request failed',
      },
    ]);
  });

  it('logs nothing below its level', () => {
    const { telemetry, lines } = collected('error');
    telemetry.log.warn('not this');
    telemetry.log.error('this');
    expect(lines().map(({ msg }) => msg)).toEqual(['this']);
  });

  it('tells latencies in milliseconds, 0 before the first request', async () => {
    const { telemetry } = collected();
    expect(await telemetry.latency()).toEqual({ p50Ms: 0, p95Ms: 0 });
    for (let i = 0; i < 100; i++)
      telemetry.requestAnswered({ method: 'GET', endpoint: '/', status: 200, seconds: 0.003 });
    const { p50Ms, p95Ms } = await telemetry.latency();
    expect(p50Ms).toBeGreaterThan(2.5);
    expect(p95Ms).toBeLessThanOrEqual(5);
    expect(p95Ms).toBeGreaterThan(p50Ms);
  });

  it('keeps the figures of two instances apart', async () => {
    const [one, two] = [collected().telemetry, collected().telemetry];
    one.batchCommitted({ records: 1, seconds: 0 });
    expect(await exposed(two)).toContain('gateway_audit_records_total 0');
  });

  it('exposes what Prometheus can read, with figures of the process', async () => {
    const { contentType, text } = await collected().telemetry.exposition();
    expect(contentType).toContain('text/plain');
    expect(text).toMatch(/^process_resident_memory_bytes \d+/m);
    expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m);
  });
});

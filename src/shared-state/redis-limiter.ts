/**
 * The limits of all gateways that share one Redis or Valkey: the arithmetic of `core/gcra.ts` as a script, which looks at
 * all buckets of a request and pours into all or none, in one round trip and by the store's own clock.
 */
import { hash } from 'node:crypto';
import type { Redis } from 'iovalkey';
import { type Reading, readingOf } from '../core/gcra.ts';
import { bucketOf, type Charge, type TakeCharges, type Verdict } from '../core/limit.ts';

// A bucket is `<debt>:<time in milliseconds>` and expires when it is empty. Two charges may share a bucket, so what is
// poured stays in `debts` until all is known. The answer holds, for each charge, whether it fits and the debt.
const script = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local debts, answer, admitted = {}, {}, true
for i, key in ipairs(KEYS) do
  local count, period, burst = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local debt = debts[key]
  if not debt then
    debt = 0
    local level = redis.call('GET', key)
    if level then
      local then_debt, at = string.match(level, '^(%d+):(%d+)$')
      debt = math.max(0, tonumber(then_debt) - math.max(0, now - tonumber(at)) * count)
    end
  end
  local fits = debt + period <= burst * period
  if fits then
    debt = debt + period
    debts[key] = debt
  else
    admitted = false
  end
  answer[i * 2 - 1] = fits and 1 or 0
  answer[i * 2] = string.format('%.0f', debt)
end
if admitted then
  for i, key in ipairs(KEYS) do
    local debt = debts[key]
    redis.call('SET', key, string.format('%.0f:%.0f', debt, now), 'PX', math.ceil(debt / tonumber(ARGV[i * 3 - 2])))
  end
end
return answer
`;

type TakeCommand = (keysCount: number, ...keysAndArguments: (string | number)[]) => Promise<(string | number)[]>;

/**
 * Rejects with whatever the store fails with, and when it does not answer in time. It is then unknown whether the charges
 * were counted.
 */
export function createRedisLimiter(client: Redis, timeoutMs: number): TakeCharges {
  // The library sends the script once on each connection, then its SHA, and the script again when the store forgot it.
  client.defineCommand('talosTake', { lua: script });
  const take = (client as unknown as { talosTake: TakeCommand }).talosTake.bind(client);
  return async (charges) => {
    const keys = charges.map(keyOf);
    const rates = charges.flatMap(({ rate }) => [rate.count, rate.periodMs, rate.burst]);
    return verdictOf(charges, await within(timeoutMs, take(keys.length, ...keys, ...rates)));
  };
}

/** Rejects when the answer is late. One that came while this process was busy is not: it is read before that is judged. */
function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => setImmediate(() => reject(new Error(`the shared store did not answer within ${timeoutMs} ms`)));
    const timer = setTimeout(late, timeoutMs);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// Hashed, so that addresses and names do not stand in the store, and keys are short.
function keyOf(charge: Charge): string {
  return `talos:limit:${hash('sha256', bucketOf(charge), 'base64url').slice(0, 27)}`;
}

function verdictOf(charges: readonly Charge[], answer: readonly (string | number)[]): Verdict {
  const readings = charges.map(({ rate }, index): Reading => {
    const [fits, debt] = answer.slice(index * 2, index * 2 + 2);
    return readingOf(rate, Number(debt), fits === 1);
  });
  return { admitted: readings.every(({ admitted }) => admitted), readings };
}

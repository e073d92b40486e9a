/** Readers of a stream as a process of their own, so that they share nothing with what they measure. */
import { type OpenOrder, type RunOrder, StreamLoad } from './stream-load.ts';

const load = new StreamLoad();

process.on('message', (order: OpenOrder | RunOrder) => {
  void (order.kind === 'open' ? load.open(order) : load.run(order)).then((result) => process.send?.(result ?? 'done'));
});
process.on('disconnect', () => process.exit());

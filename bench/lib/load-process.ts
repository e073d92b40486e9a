/** The load generator as a process of its own, so that it shares nothing with what it measures. */
import { type Load, runLoad } from './http-load.ts';

process.on('message', (load: Load) => {
  void runLoad(load).then((result) => process.send?.(result));
});
process.on('disconnect', () => process.exit());

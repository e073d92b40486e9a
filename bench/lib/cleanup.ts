/** Whatever a benchmark starts or makes is ended and removed in reverse order, also when it fails or is interrupted. */

export type Later = (undo: () => Promise<unknown> | unknown) => void;

/** Runs `work`; everything handed to `later` is undone when it is over, for whatever reason. */
export async function withCleanup(work: (later: Later) => Promise<void>): Promise<void> {
  const steps: Parameters<Later>[0][] = [];
  const undo = async () => {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) await step();
  };
  const end = (code: number) => void undo().finally(() => process.exit(code));
  const onSignal = () => end(130);
  // Also what nobody caught, such as a reader of the output that goes away, must leave no process behind.
  const onUncaught = (error: Error) => {
    process.stderr.write(`${error.stack}\n`);
    end(1);
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal).once('uncaughtException', onUncaught);
  try {
    await work((step) => steps.push(step));
  } finally {
    await undo();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('uncaughtException', onUncaught);
  }
}

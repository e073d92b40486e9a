/** Whatever a benchmark starts or makes is ended and removed in reverse order, also when it fails or is interrupted. */

export type Later = (undo: () => Promise<unknown> | unknown) => void;

/** Runs `work`; everything handed to `later` is undone when it is over, for whatever reason. */
export async function withCleanup(work: (later: Later) => Promise<void>): Promise<void> {
  const steps: Parameters<Later>[0][] = [];
  const undo = async () => {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) await step();
  };
  const interrupted = () => {
    void undo().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    await work((step) => steps.push(step));
  } finally {
    await undo();
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

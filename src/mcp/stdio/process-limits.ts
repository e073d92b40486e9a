/**
 * What a process of a tool server may use of the machine. Node.js cannot set limits for a child, so a shell does, whose
 * text is ours and fixed: program and arguments reach it as arguments and are never read as text of a shell.
 */
import type { McpServerSpec } from '../../core/mcp-server.ts';

type Limits = Pick<McpServerSpec, 'command' | 'args' | 'maxMemoryBytes' | 'maxOpenFiles'>;

/** The program to start and its arguments. */
export function limitedCommand({ command = '', args = [], maxMemoryBytes, maxOpenFiles }: Limits): {
  readonly command: string;
  readonly args: readonly string[];
} {
  const limits = [
    // In KiB (POSIX leaves the unit to the shell; all in use take it so).
    ...(maxMemoryBytes === undefined ? [] : [`ulimit -d ${Math.floor(maxMemoryBytes / 1024)}`]),
    ...(maxOpenFiles === undefined ? [] : [`ulimit -n ${maxOpenFiles}`]),
  ];
  if (limits.length === 0) return { command, args };
  const text = [...limits, 'exec "$@"'].join(' && ');
  return { command: '/bin/sh', args: ['-c', text, 'sh', command, ...args] };
}

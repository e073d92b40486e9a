/** The pages that users see who come back from an authorization server: plain text and one button, no script, no secret. */
import type { FastifyReply } from 'fastify';
import { TalosError } from '../../../core/errors.ts';

const contentSecurityPolicy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export interface Page {
  /** `question`: may the account be connected? `done`: it is. */
  readonly kind: 'question' | 'done';
  readonly serverName: string;
  readonly principalId: string;
}

/** Answers with the page; to a browser also with one that says why there is none, to anything else with the error. */
export async function pageOf(reply: FastifyReply, make: () => Promise<Page>): Promise<string> {
  const text = await make().then(textOf, (error: unknown) => refusal(reply, error));
  reply.type('text/html; charset=utf-8').header('content-security-policy', contentSecurityPolicy);
  return text;
}

function refusal(reply: FastifyReply, error: unknown): string {
  const isBrowser = reply.request.headers.accept?.includes('text/html') === true;
  if (!(error instanceof TalosError && isBrowser)) throw error;
  if (error.auditRef !== undefined) reply.header('x-talos-audit-ref', error.auditRef);
  // For what counts and limits requests.
  reply.request.failure = error;
  reply.code(error.status);
  return html('Not connected', [error.message]);
}

function textOf({ kind, serverName, principalId }: Page): string {
  return kind === 'question' ? question(serverName, principalId) : done(serverName, principalId);
}

function question(serverName: string, principalId: string): string {
  return html(
    `Connect ${serverName}?`,
    [
      `“${principalId}” of this gateway will act at ${serverName} with the account that you just chose there.`,
      'Go on only if that is you, and you asked for it just now. Otherwise close this page: nothing was connected.',
    ],
    '<form method="post"><button>Connect</button></form>',
  );
}

function done(serverName: string, principalId: string): string {
  return html('Connected', [
    `Your account at ${serverName} is connected to “${principalId}”. You can close this page and go on where you were.`,
  ]);
}

function html(title: string, paragraphs: readonly string[], form = ''): string {
  const body = paragraphs.map((paragraph) => `<p>${escapeHtml(paragraph)}</p>`).join('');
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>`;
  return `<!doctype html><html lang="en"><head>${head}</head><body><h1>${escapeHtml(title)}</h1>${body}${form}</body></html>`;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '');
}

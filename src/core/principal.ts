/** Who a request comes from, once authenticated. Authority is not here: it is a capability, judged by `policy/`. */

export interface BearerPrincipal {
  readonly authMode: 'bearer';
  /** Opaque, 1 to 200 characters, never `anonymous`. */
  readonly id: string;
  readonly teamId: string;
}

export interface AnonymousPrincipal {
  readonly authMode: 'anonymous';
}

export type Principal = BearerPrincipal | AnonymousPrincipal;

export const anonymous: AnonymousPrincipal = { authMode: 'anonymous' };

/** The principal of development mode, when a request names no better one. */
export const devUser: BearerPrincipal = { authMode: 'bearer', id: 'dev-user', teamId: 'default' };

/** Whoever holds the admin secret. */
export const adminUser: BearerPrincipal = { authMode: 'bearer', id: 'admin-user', teamId: 'default' };

/** The gateway itself, in records that belong to no request. */
export const gatewayItself: BearerPrincipal = { authMode: 'bearer', id: 'gateway', teamId: 'default' };

/** Ids that the gateway alone gives: nobody may have one or speak in its name. */
export const reservedPrincipalIds: ReadonlySet<string> = new Set(['anonymous', gatewayItself.id]);

export const teamDefault = 'default';

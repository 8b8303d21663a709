const CODES = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])

/** The reason that is given for it. */
export const NO_SOCKETS = 'no-sockets' as const

/** Is it this machine that has no socket or memory left? Then no upstream is to blame, and another one is no better. */
export function isOwnFault ({ code = '' }: NodeJS.ErrnoException): boolean {
  return CODES.has(code)
}

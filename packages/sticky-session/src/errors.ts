import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code<Status extends number> = FastifyErrorConstructor<{ code: string; statusCode: Status }, [string?, string?, string?]>

/** A wrong option: names its path, what is allowed and what was given. Thrown at registration. */
export const InvalidStickyOptionError: Code<500> = createError('HG_STICKY_INVALID_OPTION', '%s: %s; got %s', 500, TypeError)
/** Cookies are to be signed and there is nothing to sign with. Thrown at registration. */
export const MissingKeyError: Code<500> = createError(
  'HG_STICKY_NO_KEY', "%s is required in production: one or more secrets of at least 32 bytes, the current one first (for example from 'openssl rand -base64 32')", 500
)

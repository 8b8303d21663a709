import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code<Status extends number> = FastifyErrorConstructor<{ code: string; statusCode: Status }, [string?, string?, string?]>

/** A wrong option: names its path, what is allowed and what was given. Thrown at registration and by run-time calls. */
export const InvalidOptionError: Code<500> = createError('HG_POOL_INVALID_OPTION', '%s: %s; got %s', 500, TypeError)
/** A pool, or an upstream of a pool, that does not exist was named. */
export const UnknownPoolError: Code<500> = createError('HG_POOL_UNKNOWN', "there is no pool '%s'; pools are: %s", 500)
export const UnknownUpstreamError: Code<500> = createError('HG_UPSTREAM_UNKNOWN', "there is no upstream '%s' in pool '%s'", 500)
export const DuplicateUpstreamError: Code<500> = createError(
  'HG_UPSTREAM_DUPLICATE', "%s: '%s' is already in the pool (as %s); give each upstream once, with a weight", 500, TypeError
)

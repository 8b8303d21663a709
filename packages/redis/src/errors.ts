import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** Redis did not answer in time, refused, or is not asked for a while since it failed too often. Never reaches a client. */
export const RedisAwayError: FastifyErrorConstructor<{ code: 'HG_REDIS_AWAY' }, [string]> = createError('HG_REDIS_AWAY', '%s', 503)
/** A purge holds in this process, but not everybody confirmed it: those who did not will do it before they use shared state again. */
export const PurgeUnconfirmedError: FastifyErrorConstructor<{ code: 'HG_REDIS_PURGE_UNCONFIRMED' }, [string]> = createError('HG_REDIS_PURGE_UNCONFIRMED', 'The purge is not confirmed everywhere (%s); it takes effect there before shared state is used again. Repeat it for a confirmation', 503)

import createError, { type FastifyErrorConstructor } from '@fastify/error'

/** An option is not what it has to be. The message names its path, its value and what is allowed. */
export const CacheOptionError: FastifyErrorConstructor<{ code: 'HG_CACHE_OPTION' }, [string]> = createError('HG_CACHE_OPTION', '%s', 500, TypeError)
/** `Cache-Control: only-if-cached`, and nothing is stored that may be used (RFC 9111 5.2.1.7). */
export const OnlyIfCachedError: FastifyErrorConstructor<{ code: 'HG_CACHE_ONLY_IF_CACHED' }> = createError('HG_CACHE_ONLY_IF_CACHED', 'Nothing is stored that this request may be answered with, and it does not want the origin to be asked', 504)
/** The response ended before its body did, and nothing of it had been sent yet. */
export const BrokenOffError: FastifyErrorConstructor<{ code: 'HG_CACHE_BROKEN_OFF' }> = createError('HG_CACHE_BROKEN_OFF', 'The response broke off before its end', 502)
/** A purge request that names nothing that can be purged. */
export const PurgeRequestError: FastifyErrorConstructor<{ code: 'HG_CACHE_PURGE' }, [string]> = createError('HG_CACHE_PURGE', '%s', 400)
/** A purge holds in this process, but workers of the same machine did not answer in time: they obey as soon as they go on. */
export const PurgeUnconfirmedError: FastifyErrorConstructor<{ code: 'HG_CACHE_PURGE_UNCONFIRMED' }, [string]> = createError('HG_CACHE_PURGE_UNCONFIRMED', 'The purge is not confirmed everywhere (no answer from %s of the workers); they obey it as soon as they go on. Repeat it for a confirmation', 503)
/** A store cannot be used at all; raised when it is made. */
export const CacheStoreError: FastifyErrorConstructor<{ code: 'HG_CACHE_STORE' }, [string]> = createError('HG_CACHE_STORE', '%s', 500)

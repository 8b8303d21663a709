import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code<Status extends number> = FastifyErrorConstructor<{ code: string; statusCode: Status }, [string?, string?]>

/** A change without the header that a foreign page cannot send, or from a foreign page. */
export const CrossSiteError: Code<403> = createError('HG_ADMIN_CROSS_SITE', 'refused: %s', 403)
export const NotFoundError: Code<404> = createError('HG_ADMIN_NOT_FOUND', '%s', 404)
/** Pools, or their shares, are not any more what the plan was made for. */
export const ConflictError: Code<412> = createError('HG_ADMIN_CONFLICT', 'it has changed since: it is %s now; look again, then repeat', 412)
export const ConditionRequiredError: Code<428> = createError('HG_ADMIN_CONDITION_REQUIRED', 'If-Match is required: the etag of the plan, or *', 428)
export const BadChangeError: Code<400> = createError('HG_ADMIN_BAD_CHANGE', '%s', 400)
export const UnavailableError: Code<501> = createError('HG_ADMIN_UNAVAILABLE', '%s', 501)

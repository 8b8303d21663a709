import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code<Status extends number> = FastifyErrorConstructor<{ code: string; statusCode: Status }, [string?, string?, string?]>

/** A wrong option of a route: names its path, what is allowed and what was given. Thrown at registration. */
export const InvalidRouteError: Code<500> = createError('HG_BALANCER_INVALID_OPTION', '%s: %s; got %s', 500, TypeError)
/** The request's target tries to leave its route (dot segments in any spelling, bytes that no target may hold). */
export const BadTargetError: Code<400> = createError('HG_BALANCER_BAD_TARGET', 'The request target is not acceptable', 400)
/** The request's framing or Host cannot be trusted. */
export const BadRequestError: Code<400> = createError('HG_BALANCER_BAD_REQUEST', 'The request is not acceptable: %s', 400)
/** The client's body did not come in time. */
export const SlowBodyError: Code<408> = createError('HG_BALANCER_SLOW_BODY', 'The request body did not come in time', 408)
/** The client's body is longer than the route allows. */
export const BodyTooLargeError: Code<413> = createError('HG_BALANCER_BODY_TOO_LARGE', 'The request body is too large', 413)
/** No upstream of the pool may be used now. */
export const NoneReadyError: Code<503> = createError('HG_POOL_NONE_READY', 'No upstream is ready', 503)
/** Every upstream is at its limit and the queue is full, or the wait was too long. */
export const OverloadedError: Code<503> = createError('HG_POOL_OVERLOADED', 'Too many requests are waiting', 503)
/** This process can open no more sockets. */
export const NoSocketsError: Code<503> = createError('HG_POOL_NO_SOCKETS', 'The proxy can open no more connections', 503)
/** The upstream could not be reached or did not speak HTTP. */
export const UpstreamFailedError: Code<502> = createError('HG_UPSTREAM_FAILED', 'The upstream failed', 502)
/** The upstream did not answer in time. */
export const UpstreamTimeoutError: Code<504> = createError('HG_UPSTREAM_TIMEOUT', 'The upstream did not answer in time', 504)
/** The upstream answered with a status for which the route has a page of its own. */
export const UpstreamStatusError: Code<502> = createError('HG_UPSTREAM_STATUS', 'The upstream answered %s', 502)
/** The request came back to a proxy that had forwarded it. */
export const LoopError: Code<508> = createError('HG_BALANCER_LOOP', 'The request loops through this proxy', 508)
/** No rule of the route takes the request. */
export const NoRuleError: Code<404> = createError('HG_BALANCER_NO_RULE', 'Nothing is here for such a request', 404)
/** A wrong change of a split's weights: names the split. */
export const InvalidSplitError: Code<500> = createError('HG_BALANCER_INVALID_SPLIT', "split '%s' %s", 500, TypeError)
export const UnknownSplitError: Code<500> = createError('HG_BALANCER_UNKNOWN_SPLIT', "there is no split '%s'; splits are: %s", 500)
/** The route is closed for maintenance. */
export const MaintenanceError: Code<503> = createError('HG_BALANCER_MAINTENANCE', 'Closed for maintenance', 503)
export const UnknownRouteError: Code<500> = createError('HG_BALANCER_UNKNOWN_ROUTE', "there is no route with the prefix '%s'; there are: %s", 500)
/** The client's address may not come. */
export const ForbiddenClientError: Code<403> = createError('HG_BALANCER_FORBIDDEN', 'Not from this address', 403)
export const UrlTooLongError: Code<414> = createError('HG_BALANCER_URL_TOO_LONG', 'The request target is too long', 414)
/** As what Node's own parser refuses. */
export const HeadTooLargeError: Code<431> = createError('HG_BALANCER_HEAD_TOO_LARGE', 'The request head is too large', 431)
export const TooManyOfClientError: Code<429> = createError('HG_BALANCER_TOO_MANY', 'Too many requests of this client are running', 429)

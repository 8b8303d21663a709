import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code = FastifyErrorConstructor<{ code: string; statusCode: 500 }, [string?, string?, string?]>

/** A wrong option: names its path, what is allowed and what was given. Thrown at registration. */
export const InvalidHealthOptionError: Code = createError('HG_HEALTH_INVALID_OPTION', '%s: %s; got %s', 500, TypeError)
/** There is nothing to watch. Thrown at registration. */
export const NoPoolsError: Code = createError('HG_HEALTH_NO_POOLS', 'there are no pools to watch: register @headgate/balancer or @headgate/stream before @headgate/health', 500)
/** A check needs a program of the system that is not there. Thrown at registration. */
export const MissingProgramError: Code = createError('HG_HEALTH_MISSING_PROGRAM', "%s: the program '%s' is not in PATH; install it (%s) or choose another type of check", 500)

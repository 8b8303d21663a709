import createError, { type FastifyErrorConstructor } from '@fastify/error'

type Code<Status extends number> = FastifyErrorConstructor<{ code: string; statusCode: Status }, [string?, string?, string?]>

/** A wrong option of a listener: names its path, what is allowed and what was given. Thrown at registration. */
export const InvalidListenerError: Code<500> = createError('HG_STREAM_INVALID_OPTION', '%s: %s; got %s', 500, TypeError)
/** A listener that does not exist was named. */
export const UnknownListenerError: Code<500> = createError('HG_STREAM_UNKNOWN_LISTENER', "there is no listener '%s'; listeners are: %s", 500)
/** A listener cannot have its address. */
export const ListenError: Code<500> = createError('HG_STREAM_LISTEN', "listener '%s' cannot listen on %s: %s", 500)

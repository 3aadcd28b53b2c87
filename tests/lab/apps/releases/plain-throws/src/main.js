throw new Error('JWT_SECRET is not set');

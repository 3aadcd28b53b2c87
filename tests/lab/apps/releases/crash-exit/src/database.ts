export async function checkDatabasePassword() {
  if (!process.env.DATABASE_PASSWORD) {
    throw new Error('password authentication failed for user "shop"');
  }
}

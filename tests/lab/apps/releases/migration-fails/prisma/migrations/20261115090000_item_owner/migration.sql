BEGIN;
ALTER TABLE "Item" ADD COLUMN "owner" TEXT;
UPDATE "Items" SET "owner" = 'nobody';
COMMIT;

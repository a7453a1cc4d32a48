-- Passwords that other systems have hashed come with people who are imported. They are replaced when their owners sign in.

-- freehold:allow drop-constraint: the same statement brings both back, with room for more
-- freehold:allow add-check: a tenant has a row for each person, and the first checks let in more than the ones before
ALTER TABLE freehold.credentials
    DROP CONSTRAINT credentials_password_check,
    ADD CONSTRAINT credentials_password_check CHECK (kind <> 'password' OR handle = ''
        AND (data ->> 'hash' ~ '^[$](argon2(id|i|d)|2[aby]|scrypt|pbkdf2-sha(1|256|512))[$]') IS TRUE),
    DROP CONSTRAINT credentials_former_password_check,
    ADD CONSTRAINT credentials_former_password_check CHECK (kind <> 'former_password'
        OR (data ->> 'hash' ~ '^[$](argon2(id|i|d)|2[aby]|scrypt|pbkdf2-sha(1|256|512))[$]') IS TRUE);

-- Jobs that were handed over stay leased to the workers that run them.
DROP FUNCTION signalstack.hand_over;
DROP FUNCTION signalstack.take_invitation;
DROP TABLE signalstack.invitations;
